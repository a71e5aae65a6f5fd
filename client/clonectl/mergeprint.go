package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

func objects(n int) string {
	if n == 1 {
		return "one object"
	}
	return fmt.Sprintf("%d objects", n)
}

func (a *app) printMerge(m merged, o *mergeOptions, conflict error) error {
	if o.output != "" {
		return errors.Join(a.printJSON(m), conflict)
	}
	a.printConflicts(m)
	if conflict != nil {
		return conflict
	}
	fmt.Fprintf(a.out, "-- %s into %s, since %s: %d objects changed by one, %d by the other, %d by both alike\n", m.From, m.Into, m.Base, len(m.Theirs), len(m.Ours), len(m.Same))
	a.printStatements(m.Statements)
	if len(m.Statements) == 0 {
		fmt.Fprintln(a.out, "-- nothing is to be done")
	} else if m.Rehearsal != nil {
		fmt.Fprintf(a.out, "\n%s", m.Rehearsal.Text())
	}
	return nil
}

// printConflicts prints each conflict with what both sides have, and how they came
// to it.
func (a *app) printConflicts(m merged) {
	for _, c := range m.Conflicts {
		fmt.Fprintf(a.out, "%s %s: %s\n", paint(a.out, red, "conflict:"), c.Key, c.Why)
		for _, side := range []struct {
			name, definition string
			ddl              []string
		}{{"base", c.Base, nil}, {m.Into, c.Ours, c.OursDDL}, {m.From, c.Theirs, c.TheirsDDL}} {
			fmt.Fprintf(a.out, "  %s: %s\n", side.name, cmp.Or(oneLine(side.definition), "(not there)"))
			for _, sql := range side.ddl {
				fmt.Fprintf(a.out, "    %s;\n", strings.TrimRight(oneLine(sql), "; "))
			}
		}
	}
	for _, c := range m.Tried {
		fmt.Fprintf(a.out, "%s %s: %q in one order, %q in the other\n", paint(a.out, red, "conflict:"), c.Key, oneLine(c.From), oneLine(c.To))
	}
	if m.OursStatements != nil {
		fmt.Fprintf(a.out, "-- what %s has changed:\n", m.Into)
		a.printStatements(m.OursStatements)
		fmt.Fprintf(a.out, "-- what %s has changed:\n", m.From)
		a.printStatements(m.Statements)
	}
	for _, note := range m.Notes {
		fmt.Fprintf(a.out, "-- %s\n", oneLine(note))
	}
}
