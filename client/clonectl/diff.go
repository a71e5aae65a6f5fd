package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/client/schema"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

type diffOptions struct {
	data   bool
	tables []string
	output string
}

// difference is what diff prints with -o json.
type difference struct {
	From       string             `json:"from"`
	To         string             `json:"to"`
	Changes    []schema.Change    `json:"changes"`
	Statements []schema.Statement `json:"statements"`
	// Failed is the error of the first statement that failed on a copy of From, or
	// why there are none.
	Failed string `json:"failed,omitempty"`
	// Left is what differs still after the statements ran on a copy of From.
	Left        []schema.Change    `json:"left,omitempty"`
	NotCompared []string           `json:"not_compared"`
	Data        []schema.TableData `json:"data,omitempty"`
}

func newDiff(a *app) *cobra.Command {
	o := &diffOptions{}
	cmd := &cobra.Command{
		Use:   "diff [A [B]]",
		Short: "Compare the schemas, and with --data the rows, of clones, snapshots and goldens",
		Long: `Prints the statements that turn the schema of A into that of B. Each may be a
CLONE, a GOLDEN, or either with @SNAPSHOT. With one name, or none for the Git
branch's clone, it prints what the clone has changed since its origin.

The statements are tried on a throw-away clone of A first, and what they leave is
named, as is what is not compared. Snapshots are compared through throw-away
clones as well.`,
		Example: `  clonectl diff
  clonectl diff dev hotfix-1042
  clonectl diff shop dev@before --data -o json`,
		Args: cobra.MaximumNArgs(2), ValidArgsFunction: a.completeClones,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runDiff(cmd.Context(), args, o) },
	}
	cmd.Flags().BoolVar(&o.data, "data", false, "compare the rows of tables too, by primary key")
	cmd.Flags().StringArrayVar(&o.tables, "table", nil, "with --data, only the rows of SCHEMA.TABLE; may be repeated")
	outputFlag(cmd, &o.output)
	return cmd
}

func (a *app) runDiff(ctx context.Context, args []string, o *diffOptions) error {
	ctx, c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	from, to, err := diffArgs(ctx, c, args)
	if err != nil {
		return err
	}
	d := difference{From: from, To: to}
	// Always a copy, for the statements are tried on it.
	left, err := a.scratch(ctx, c, from, "diff")
	if err != nil {
		return err
	}
	defer a.release(left)
	right, done, err := a.open(ctx, c, to)
	if err != nil {
		return err
	}
	defer done()
	conn, err := connect(ctx, left.Clone)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) // a session that is lost is no loss
	if err := schema.SameMajor(conn, right); err != nil {
		return err
	}
	if o.data || o.tables != nil {
		written := a.writtenTables(ctx, c, copied{left.Clone, conn}, right, from, to)
		if d.Data, err = schema.DiffData(ctx, conn, right, o.tables, written); err != nil {
			return err
		}
	}
	if err := d.compare(ctx, conn, right); err != nil {
		return err
	}
	if o.output == "json" {
		return a.printJSON(d)
	}
	return a.printDifference(d)
}

// diffArgs returns what is to be compared: a clone alone is compared with its
// origin.
func diffArgs(ctx context.Context, c *client.Client, args []string) (from, to string, err error) {
	if len(args) == 2 {
		return args[0], args[1], nil
	}
	name, err := name(args)
	if err != nil {
		return "", "", err
	}
	clone, err := get(ctx, c, name)
	return name + "@" + clone.GetSnapshot(), name, err
}

// open connects to what ref means: a clone itself, anything else through a clone
// made for it, which done removes.
func (a *app) open(ctx context.Context, c *client.Client, ref string) (conn *pgx.Conn, done func(), err error) {
	var clone *clonedv1.Clone
	release := func() {}
	if !strings.Contains(ref, "@") {
		clone, _ = reachable(ctx, c, ref) // else a copy is tried, and its error told
	}
	if clone == nil {
		lease, err := a.scratch(ctx, c, ref, "diff")
		if err != nil {
			return nil, nil, err
		}
		clone, release = lease.Clone, func() { a.release(lease) }
	}
	conn, err = connect(ctx, clone)
	if err != nil {
		release()
		return nil, nil, err
	}
	return conn, func() {
		_ = conn.Close(context.WithoutCancel(ctx)) // a session that is lost is no loss
		release()
	}, nil
}

// compare fills in how two databases differ, and tries the statements on the
// first, which is thrown away.
func (d *difference) compare(ctx context.Context, from, to *pgx.Conn) error {
	a, err := schema.Read(ctx, from)
	if err != nil {
		return err
	}
	b, err := schema.Read(ctx, to)
	if err != nil {
		return err
	}
	d.Changes, d.NotCompared = schema.Diff(a, b), slices.Compact(slices.Sorted(slices.Values(slices.Concat(a.NotCompared, b.NotCompared))))
	d.Statements, err = schema.Between(ctx, from.Config(), to.Config(), d.Changes)
	if errs.Is(err, errs.Precondition) {
		d.Failed, d.Left = err.Error(), d.Changes
		return nil // which they are is known all the same
	}
	if err != nil {
		return err
	}
	if _, err := schema.Apply(ctx, from, d.Statements); err != nil {
		d.Failed = err.Error()
	}
	if a, err = schema.Read(ctx, from); err == nil {
		d.Left = schema.Diff(a, b)
	}
	return err
}

func (a *app) printDifference(d difference) error {
	fmt.Fprintf(a.out, "-- from %s to %s\n", d.From, d.To)
	if len(d.Changes) == 0 {
		fmt.Fprintln(a.out, "-- no differences in the schema")
	}
	a.printStatements(d.Statements)
	if d.Failed != "" {
		why := oneLine(d.Failed)
		if d.Statements != nil {
			why = "tried on a copy, a statement failed: " + why
		}
		fmt.Fprintf(a.out, "-- %s\n", why)
	}
	for _, c := range d.Left {
		fmt.Fprintf(a.out, "-- differs still after these statements: %s, %s\n", c.Key, c.Action)
	}
	for _, what := range d.NotCompared {
		fmt.Fprintf(a.out, "-- not compared: %s\n", what)
	}
	if d.Data == nil {
		return nil
	}
	var rows [][]string
	read := 0
	for _, t := range d.Data {
		if t.Read {
			read++
		}
		if !t.Same() {
			rows = append(rows, []string{t.Table, fmt.Sprint(t.Added), fmt.Sprint(t.Changed), fmt.Sprint(t.Removed), t.Note})
		}
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintf(a.out, "-- no differences in the rows of %d tables; %d were written to, and read\n", len(d.Data), read)
		return err
	}
	fmt.Fprintln(a.out)
	return a.table("TABLE ADDED CHANGED REMOVED NOTE", rows)
}

func (a *app) printStatements(list []schema.Statement) {
	for _, s := range list {
		for _, h := range s.Hazards {
			fmt.Fprintf(a.out, "-- %s\n", paint(a.out, yellow, oneLine(h)))
		}
		fmt.Fprintf(a.out, "%s;\n", strings.TrimRight(s.SQL, "; \n"))
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
