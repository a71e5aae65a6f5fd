package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/client/rehearse"
	"github.com/cloned-db/cloned/client/schema"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

type mergeOptions struct {
	into, output string
	dryRun, now  bool
}

func newMerge(a *app) *cobra.Command {
	o := &mergeOptions{}
	cmd := &cobra.Command{
		Use:   "merge CLONE --into CLONE",
		Short: "Bring what one clone has changed in the schema into another; rows never",
		Long: `Compares both clones with their nearest common ancestor. What both have changed
alike is done already; the rest is merged if applying the changes of both in
either order gives the same schema, which is tried on throw-away clones. A
conflict is named object by object, and nothing changes.

The merge is built beside the clone and put in its place: address and password
stay, connections are closed. clonectl undo takes it back. --dry-run only says
what would be done, and rehearses the statements (see clonectl rehearse).`,
		Example: `  clonectl merge hotfix-1042 --into dev --dry-run
  clonectl merge hotfix-1042 --into dev`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(a.completeClones),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.into == "" {
				return errs.Fieldf("into", "must be given").WithHint("clonectl merge %s --into CLONE", args[0])
			}
			return a.runMerge(cmd.Context(), args[0], o)
		},
	}
	cmd.Flags().StringVar(&o.into, "into", "", "clone to merge into")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "change nothing: report what would be done, and rehearse it")
	nowFlag(cmd, &o.now)
	a.complete(cmd, "into", a.completeClones)
	outputFlag(cmd, &o.output)
	return cmd
}

// merged is what merge prints with -o json.
type merged struct {
	From       string             `json:"from"`
	Into       string             `json:"into"`
	Base       string             `json:"base"`
	Statements []schema.Statement `json:"statements"`
	schema.Merge
	// OursStatements are what the target has changed, if that and Statements can't
	// be done in either order.
	OursStatements []schema.Statement `json:"ours_statements,omitempty"`
	// Rehearsal is what the statements did on a copy of the target, in a dry run.
	Rehearsal *rehearse.Report `json:"rehearsal,omitempty"`
	// Tried is what applying both sides in either order gives differently.
	Tried      []schema.Change `json:"tried,omitempty"`
	Generation int64           `json:"generation,omitempty"`
	Notes      []string        `json:"notes,omitempty"`
}

func (a *app) runMerge(ctx context.Context, from string, o *mergeOptions) (err error) {
	ctx, c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	theirs, err := reachable(ctx, c, from)
	if err != nil {
		return err
	}
	ours, err := get(ctx, c, o.into)
	if err != nil {
		return err
	}
	if ours.GetId() == theirs.GetId() {
		return errs.Fieldf("into", "%s can't be merged into itself", from)
	}
	begin := time.Now()
	m := &merger{a: a, c: c, ours: ours, theirs: theirs}
	defer m.close()
	if m.base, err = commonAncestor(ctx, c, ours, theirs); err != nil {
		return err
	}
	begun := &unwritten{clone: ours}
	if !o.dryRun { // which takes nothing from anybody
		if begun, err = noteUnwritten(ctx, ours); err != nil {
			return err
		}
	}
	defer begun.close(ctx)
	req, err := scratchRequest(ctx, c, ours.GetName(), "merge")
	if err != nil {
		return err
	}
	req.CountStatements = o.dryRun // it is rehearsed
	target, err := a.lease(ctx, c, req)
	if err != nil {
		return err
	}
	defer a.release(target)
	if err := m.plan(ctx, target.Clone, o.dryRun); err != nil {
		return err
	}
	if err := m.conflicts(); err != nil {
		return a.printMerge(m.report, o, err)
	}
	if o.dryRun {
		return a.printMerge(m.report, o, nil)
	}
	if len(m.report.Statements) > 0 {
		clone, err := a.replace(ctx, c, ours, target, o.now, func() error {
			// What came after the copy was made would be lost with the old state.
			now, err := get(ctx, c, ours.GetName())
			if err != nil {
				return err
			}
			return begun.still(ctx, now)
		})
		if err != nil {
			return err
		}
		m.report.Generation = clone.GetGeneration()
	}
	if err := a.printMerge(m.report, o, nil); err != nil || o.output != "" {
		return err
	}
	return a.done(ours, "", "has "+from+" merged into it", begin)
}

// merger makes a merge of throw-away clones.
type merger struct {
	a            *app
	c            *client.Client
	ours, theirs *clonedv1.Clone
	base         string
	report       merged
	disorder     error // of the changes that can't be made after the other side's
	closers      []func()
}

func (m *merger) close() {
	for _, f := range m.closers {
		f()
	}
}

// copyOf makes a throw-away clone and connects to it.
func (m *merger) copyOf(ctx context.Context, ref string) (*pgx.Conn, error) {
	lease, err := m.a.scratch(ctx, m.c, ref, "merge")
	if err != nil {
		return nil, err
	}
	m.closers = append(m.closers, func() { m.a.release(lease) })
	return m.connect(ctx, lease.Clone)
}

func (m *merger) connect(ctx context.Context, clone *clonedv1.Clone) (*pgx.Conn, error) {
	conn, err := connect(ctx, clone)
	if err == nil {
		// Before the clone goes; a session that is lost is no loss.
		m.closers = append([]func(){func() { _ = conn.Close(context.WithoutCancel(ctx)) }}, m.closers...)
	}
	return conn, err
}

// plan finds out what is to be done, does it on the target, a copy of ours, and
// does the same the other way round on a copy of theirs, to compare the results.
// With watch, it is rehearsed.
func (m *merger) plan(ctx context.Context, target *clonedv1.Clone, watch bool) error {
	base, err := m.copyOf(ctx, m.base)
	if err != nil {
		return err
	}
	theirs, err := m.copyOf(ctx, m.theirs.GetName())
	if err != nil {
		return err
	}
	ours, err := m.connect(ctx, target)
	if err != nil {
		return err
	}
	for _, side := range []*pgx.Conn{ours, theirs} {
		if err := schema.SameMajor(base, side); err != nil {
			return err
		}
	}
	var before [3]schema.Schema
	for i, conn := range []*pgx.Conn{base, ours, theirs} {
		if before[i], err = schema.Read(ctx, conn); err != nil {
			return err
		}
	}
	m.report = merged{From: m.theirs.GetName(), Into: m.ours.GetName(), Base: m.base, Merge: schema.Compare3(before[0], before[1], before[2])}
	if len(m.report.Conflicts) > 0 {
		return m.explain(ctx, []*pgx.Conn{base, ours, theirs}, before)
	}
	mine, err := m.statements(ctx, base, ours, before[0], before[1])
	if err != nil {
		return err
	}
	if m.report.Statements, err = m.statements(ctx, base, theirs, before[0], before[2]); err != nil {
		return err
	}
	var failure error
	apply := func(ctx context.Context) error {
		_, failure = schema.Apply(ctx, ours, m.report.Statements)
		return failure
	}
	if watch {
		report, err := m.a.watch(ctx, m.c, target, 0, apply)
		if err != nil {
			return err
		}
		m.report.Rehearsal = &report
	} else {
		_ = apply(ctx) // see failure
	}
	if failure != nil {
		m.inOrder(failure, m.theirs, m.ours, mine)
		return nil
	}
	if _, err := schema.Apply(ctx, theirs, mine); err != nil {
		m.inOrder(err, m.ours, m.theirs, mine)
		return nil
	}
	one, err := schema.Read(ctx, ours)
	if err != nil {
		return err
	}
	two, err := schema.Read(ctx, theirs)
	if m.report.Tried = schema.Diff(one, two); len(m.report.Tried) > 0 {
		m.report.OursStatements = mine
	}
	return err
}

// explain adds to conflicts by which statements either side came to what it has.
// Without them they are conflicts all the same.
func (m *merger) explain(ctx context.Context, conns []*pgx.Conn, before [3]schema.Schema) error {
	var steps [2][]schema.Step
	for i := range steps {
		side := i + 1
		plan, err := schema.Between(ctx, conns[0].Config(), conns[side].Config(), schema.Diff(before[0], before[side]))
		if err == nil {
			var scratch *pgx.Conn
			if scratch, err = m.copyOf(ctx, m.base); err != nil {
				return err
			}
			steps[i], err = schema.Steps(ctx, scratch, plan, before[side])
		}
		if err != nil {
			m.report.Notes = append(m.report.Notes, "not all statements can be told: "+err.Error())
		}
	}
	schema.Explain(m.report.Conflicts, steps[0], steps[1])
	return nil
}

// statements returns what turns the base into one side, without what the other
// side has done too.
func (m *merger) statements(ctx context.Context, base, side *pgx.Conn, from, to schema.Schema) ([]schema.Statement, error) {
	plan, err := schema.Between(ctx, base.Config(), side.Config(), schema.Diff(from, to))
	if err != nil || len(m.report.Same) == 0 {
		return plan, err
	}
	scratch, err := m.copyOf(ctx, m.base) // the statements are run on it
	if err != nil {
		return nil, err
	}
	return schema.Remaining(ctx, scratch, plan, to, m.report.Same)
}

// inOrder notes that the changes of one clone can't be made where those of the
// other have been.
func (m *merger) inOrder(err error, changes, after *clonedv1.Clone, mine []schema.Statement) {
	m.report.OursStatements = mine
	m.disorder = errs.New(errs.Conflict, "MERGE_CONFLICT", "what %s has changed can't be done after what %s has; %s is as it was: %w", changes.GetName(), after.GetName(), m.ours.GetName(), err).
		WithHint("rebase, or make the change of one side by hand on the other")
}

// conflicts is nil if the two can be merged.
func (m *merger) conflicts() error {
	switch n := len(m.report.Conflicts); {
	case n > 0:
		return errs.New(errs.Conflict, "MERGE_CONFLICT", "%s and %s have changed %s differently; %s is as it was", m.ours.GetName(), m.theirs.GetName(), objects(n), m.ours.GetName()).
			WithHint("make one side like the other, and merge again")
	case len(m.report.Tried) > 0:
		return errs.New(errs.Conflict, "MERGE_CONFLICT", "the order of the changes matters: it makes a difference for %s; %s is as it was", objects(len(m.report.Tried)), m.ours.GetName()).
			WithHint("make the change of one side by hand on the other")
	}
	return m.disorder
}
