package schema

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Conflict is an object that both sides have changed, differently.
type Conflict struct {
	Key
	// Base, Ours and Theirs are its definitions; empty where it is not.
	Base   string `json:"base,omitempty"`
	Ours   string `json:"ours,omitempty"`
	Theirs string `json:"theirs,omitempty"`
	Why    string `json:"why"`
	// OursDDL and TheirsDDL are the statements by which either side came from the
	// base to this; see Explain.
	OursDDL   []string `json:"ours_ddl,omitempty"`
	TheirsDDL []string `json:"theirs_ddl,omitempty"`

	parent string
}

// Merge is what two schemas that come from one have changed since.
type Merge struct {
	// Ours and Theirs are the changes of one side only, Same those that both have
	// made.
	Ours      []Change   `json:"ours"`
	Theirs    []Change   `json:"theirs"`
	Same      []Change   `json:"same"`
	Conflicts []Conflict `json:"conflicts"`
}

// Compare3 compares two schemas with the one that both come from, object by
// object. That it finds no conflict does not prove that there is none: whether
// the changes give the same schema in either order has to be tried.
func Compare3(base, ours, theirs Schema) Merge {
	var m Merge
	mine, their := byKey(Diff(base, ours)), byKey(Diff(base, theirs))
	for _, key := range slices.SortedFunc(maps.Keys(mine), compareKeys) {
		c := mine[key]
		t, both := their[key]
		switch {
		case both && t.Action == c.Action && t.To == c.To:
			m.Same = append(m.Same, c)
		case both:
			m.Conflicts = append(m.Conflicts, conflict(base, ours, theirs, key, "both sides changed it, differently"))
		default:
			m.Ours = append(m.Ours, c)
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(their), compareKeys) {
		if _, both := mine[key]; !both {
			m.Theirs = append(m.Theirs, their[key])
		}
	}
	m.Conflicts = append(m.Conflicts, m.ofParents(base, ours, theirs)...)
	return m
}

// ofParents finds what one side changed in a table that the other side dropped,
// or that both made, and not alike.
func (m Merge) ofParents(base, ours, theirs Schema) []Conflict {
	var out []Conflict
	gone := func(s Schema, parent string) bool { return !has(s, parent) && has(base, parent) }
	both := map[string]bool{}
	for _, c := range m.Same {
		if c.Action == Added && c.parent == "" {
			both[c.Name] = true
		}
	}
	for _, side := range []struct {
		changes []Change
		other   Schema
	}{{m.Ours, theirs}, {m.Theirs, ours}} {
		for _, c := range side.changes {
			switch {
			case c.parent == "" || c.Action == Removed:
			case gone(side.other, c.parent):
				out = append(out, conflict(base, ours, theirs, c.Key, "it is part of "+c.parent+", which the other side dropped"))
			case both[c.parent]:
				out = append(out, conflict(base, ours, theirs, c.Key, "both sides made "+c.parent+", and only one with this"))
			}
		}
	}
	return out
}

// has says whether there is a relation or type of the name.
func has(s Schema, name string) bool {
	for _, kind := range []string{"table", "foreign table", "view", "materialized view", "composite type", "domain", "enum"} {
		if _, ok := s.Objects[Key{kind, name}]; ok {
			return true
		}
	}
	return false
}

func conflict(base, ours, theirs Schema, key Key, why string) Conflict {
	return Conflict{
		Key: key, Why: why, Base: base.Objects[key].Definition,
		Ours: ours.Objects[key].Definition, Theirs: theirs.Objects[key].Definition,
		parent: cmp.Or(base.Objects[key].Parent, ours.Objects[key].Parent, theirs.Objects[key].Parent),
	}
}

func byKey(changes []Change) map[Key]Change {
	out := make(map[Key]Change, len(changes))
	for _, c := range changes {
		out[c.Key] = c
	}
	return out
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// Step is a part of a plan, and what it changes.
type Step struct {
	Statements []Statement
	Changes    []Change
	// open says that it leaves something that is neither in the beginning nor in
	// the end.
	open bool
}

// Steps finds out what a plan changes, and with which of its statements, by
// running it on conn, a copy of what it starts from, and looking after each.
// Statements that belong together, such as an index that is made for a
// constraint, leave something in between that is neither in the beginning nor in
// goal, the schema at the end; they are one step.
func Steps(ctx context.Context, conn *pgx.Conn, plan []Statement, goal Schema) ([]Step, error) {
	base, err := Read(ctx, conn)
	if err != nil {
		return nil, err
	}
	var out []Step
	var together []Statement
	before, after := base, base
	for _, s := range plan {
		if err := run(ctx, conn, s); err != nil {
			return nil, err
		}
		if after, err = Read(ctx, conn); err != nil {
			return nil, err
		}
		if together = append(together, s); between(base, after, goal) {
			out = append(out, Step{Statements: together, Changes: Diff(before, after)})
			before, together = after, nil
		}
	}
	if together != nil {
		out = append(out, Step{Statements: together, Changes: Diff(before, after), open: true})
	}
	return out, nil
}

// Remaining returns those statements of a plan that are still to be run where
// the changes in same have been made already; conn and goal are as in Steps.
func Remaining(ctx context.Context, conn *pgx.Conn, plan []Statement, goal Schema, same []Change) ([]Statement, error) {
	if len(same) == 0 {
		return plan, nil
	}
	made := byKey(same)
	steps, err := Steps(ctx, conn, plan, goal)
	if err != nil {
		return nil, err
	}
	var out []Statement
	for _, s := range steps {
		if s.open || len(s.Changes) == 0 || slices.ContainsFunc(s.Changes, func(c Change) bool { _, ok := made[c.Key]; return !ok }) {
			out = append(out, s.Statements...)
		}
	}
	return out, nil
}

// Explain fills in the statements of conflicts, from the steps by which either
// side came from the base.
func Explain(conflicts []Conflict, ours, theirs []Step) {
	for i := range conflicts {
		c := &conflicts[i]
		c.OursDDL, c.TheirsDDL = c.statements(ours), c.statements(theirs)
	}
}

// statements returns those that change the object, or else what it is part of.
func (c Conflict) statements(steps []Step) []string {
	for _, is := range []func(Change) bool{
		func(x Change) bool { return x.Key == c.Key },
		func(x Change) bool { return c.parent != "" && x.Name == c.parent },
	} {
		var out []string
		for _, s := range steps {
			if slices.ContainsFunc(s.Changes, is) {
				for _, st := range s.Statements {
					out = append(out, st.SQL)
				}
			}
		}
		if out != nil {
			return out
		}
	}
	return nil
}

// between says whether each object of now is as in one of the others.
func between(from, now, to Schema) bool {
	for _, key := range slices.Concat(slices.Collect(maps.Keys(now.Objects)), slices.Collect(maps.Keys(from.Objects))) {
		is := now.Objects[key].Definition
		if is != from.Objects[key].Definition && is != to.Objects[key].Definition {
			return false
		}
	}
	return true
}
