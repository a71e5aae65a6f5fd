package rehearse

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// maxTextRows bounds the tables for a terminal.
const maxTextRows = 10

// Text returns the report for a terminal: what matters most, without colours.
func (r Report) Text() string {
	var b strings.Builder
	several := r.severalDatabases()
	fmt.Fprintf(&b, "rehearsal %s\n", r.verdict())
	if r.Error != "" {
		fmt.Fprintf(&b, "error: %s\n", cut(r.Error, maxText))
	}
	for _, reason := range r.Broken {
		fmt.Fprintf(&b, "not passed: %s\n", reason)
	}
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	list := groups(r.Locks)
	if len(list) > 0 {
		fmt.Fprintln(w, "\nBLOCKS\tHELD\tWAITED\tTABLE\tMODE\tSTATEMENT")
	}
	for _, g := range list[:min(len(list), maxTextRows)] {
		held := atLeast(g.Held.Duration)
		if g.times > 1 {
			held += fmt.Sprintf(" (%d×)", g.times)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", g.shuts(), held, dash(g.Waited.Duration), where(g.Table, g.Database, several), g.Mode, cut(g.Statement, 60))
	}
	if len(r.Rewrites) > 0 {
		fmt.Fprintln(w, "\nREWRITTEN\tKIND\tSIZE")
	}
	for _, rw := range r.Rewrites[:min(len(r.Rewrites), maxTextRows)] {
		fmt.Fprintf(w, "%s\t%s\t%s\n", where(rw.Table, rw.Database, several), rw.Kind, size(rw.Bytes))
	}
	if len(r.Log) > 0 {
		fmt.Fprintln(w, "\nLOG\tTIMES\tMESSAGE")
	}
	for _, l := range r.Log[:min(len(r.Log), maxTextRows)] {
		fmt.Fprintf(w, "%s\t%d\t%s\n", l.Severity, l.Count, cut(l.Message, 100))
	}
	_ = w.Flush() // into memory
	fmt.Fprintf(&b, "\n%s of WAL, databases %s → %s (%s), created %d, dropped %d\n", size(r.WALBytes),
		size(r.SizeBefore), size(r.SizeAfter), signed(r.SizeAfter-r.SizeBefore), len(r.Created), len(r.Dropped))
	fmt.Fprintln(&b, r.sampled())
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	return b.String()
}
