package main

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/client/schema"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// copied is a clone that was made to be compared, with a session on it.
type copied struct {
	clone *clonedv1.Clone
	conn  *pgx.Conn
}

// writtenTables returns the tables in which the rows of to, with a session on it,
// may differ from those of from, of which there is a copy; nil if that is not
// known, and each has to be read. The filesystem knows what was written since
// both were one. What was written before, and committed after, it does not know.
func (a *app) writtenTables(ctx context.Context, c *client.Client, left copied, right *pgx.Conn, from, to string) []string {
	since := func(name, snapshot string) []string {
		resp, err := c.Clones.GetChanges(ctx, &clonedv1.GetChangesRequest{Name: name, Since: snapshot})
		if err != nil {
			return nil
		}
		tables := []string{}
		for _, r := range resp.GetRelations() {
			if r.GetDatabase() == left.clone.GetEndpoint().GetDatabase() {
				tables = append(tables, r.GetName())
			}
		}
		return tables
	}
	if tables := since(to, left.clone.GetSnapshot()); tables != nil {
		return unlessCommitted(ctx, tables, left.conn, right)
	}
	ours, err := get(ctx, c, from)
	if err != nil {
		return nil
	}
	theirs, err := get(ctx, c, to)
	if err != nil {
		return nil
	}
	ancestor, err := commonAncestor(ctx, c, ours, theirs)
	if err != nil {
		return nil
	}
	_, snapshot, _ := strings.Cut(ancestor, "@")
	one, two := since(from, snapshot), since(to, snapshot)
	if one == nil || two == nil {
		return nil
	}
	base, done, err := a.open(ctx, c, ancestor)
	if err != nil {
		return nil
	}
	defer done()
	return unlessCommitted(ctx, append(one, two...), base, left.conn, right)
}

// unlessCommitted returns the tables, or nil if what was under way in the state
// that base is a copy of has been committed on one of the sides.
func unlessCommitted(ctx context.Context, tables []string, base *pgx.Conn, sides ...*pgx.Conn) []string {
	if committed, err := schema.CommittedSince(ctx, base, sides...); err != nil || committed {
		return nil
	}
	return tables
}
