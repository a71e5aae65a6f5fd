package schema

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/errs"
)

// Key names an object: Kind as PostgreSQL says it ("table", "column", "index"),
// Name with its schema, and for what is part of a table with the table.
type Key struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

func (k Key) String() string { return k.Kind + " " + k.Name }

// Object is something in a database.
type Object struct {
	Key
	// Parent is the name of the table (view, type) that it is part of, or empty.
	Parent string `json:"parent,omitempty"`
	// Definition is all that is compared: DDL where there is any for it.
	Definition string `json:"definition"`
}

// Schema is what is in a database besides rows.
type Schema struct {
	Objects map[Key]Object
	// NotCompared says, for people, what of it a comparison leaves out.
	NotCompared []string
}

// neverCompared is what no query finds.
var neverCompared = []string{
	"owners", "the order of columns", "roles and their settings, tablespaces and other databases", "large objects",
	"privileges on databases, parameters and parts of extensions",
}

// Read returns the schema of the database that conn is connected to. It takes
// one read-only transaction; errs.Unavailable if that fails.
func Read(ctx context.Context, conn *pgx.Conn) (Schema, error) {
	s := Schema{Objects: map[Key]Object{}, NotCompared: slices.Clone(neverCompared)}
	err := pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		// With an empty path every name in a definition has its schema.
		if _, err := tx.Exec(ctx, "SET LOCAL search_path = ''"); err != nil {
			return err
		}
		for _, q := range queries {
			if err := s.read(ctx, tx, q); err != nil {
				return fmt.Errorf("%s: %w", q.what, err)
			}
		}
		return nil
	})
	if err != nil {
		return Schema{}, errs.New(errs.Unavailable, "SCHEMA_UNREADABLE", "reading the schema: %w", err)
	}
	return s, nil
}

func (s *Schema) read(ctx context.Context, tx pgx.Tx, q query) error {
	rows, err := tx.Query(ctx, common+q.sql)
	if err != nil {
		return err
	}
	n := 0
	var o Object
	_, err = pgx.ForEachRow(rows, []any{&o.Kind, &o.Name, &o.Parent, &o.Definition}, func() error {
		n++
		if _, twice := s.Objects[o.Key]; twice {
			return fmt.Errorf("%s is there twice", o.Key)
		}
		s.Objects[o.Key] = o
		return nil
	})
	if n > 0 && q.notCompared != "" {
		s.NotCompared = append(s.NotCompared, q.notCompared)
	}
	return err
}

// Action says how an object differs.
type Action string

const (
	Added   Action = "added"
	Changed Action = "changed"
	Removed Action = "removed"
)

// Change is one object that differs.
type Change struct {
	Key
	Action Action `json:"action"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`

	parent string
}

// Diff returns what turns a into b, by kind and name.
func Diff(a, b Schema) []Change {
	var out []Change
	for key, o := range b.Objects {
		was, ok := a.Objects[key]
		switch {
		case !ok:
			out = append(out, Change{Key: key, Action: Added, To: o.Definition, parent: o.Parent})
		case was.Definition != o.Definition:
			out = append(out, Change{Key: key, Action: Changed, From: was.Definition, To: o.Definition, parent: o.Parent})
		}
	}
	for key, o := range a.Objects {
		if _, ok := b.Objects[key]; !ok {
			out = append(out, Change{Key: key, Action: Removed, From: o.Definition, parent: o.Parent})
		}
	}
	slices.SortFunc(out, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.parentOrName(), b.parentOrName()), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func (c Change) parentOrName() string { return cmp.Or(c.parent, c.Name) }
