package rehearse

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// verdict is the most important thing of a report, in one line, with the
// longest lock of the worst sort that there is.
func (r Report) verdict() string {
	outcome := "succeeded in " + took(r.Took.Duration)
	switch {
	case r.TimedOut:
		outcome = "timed out after " + took(r.Took.Duration)
	case r.Failed():
		outcome = "failed after " + took(r.Took.Duration)
		if r.ExitCode > 0 {
			outcome += fmt.Sprintf(" with exit code %d", r.ExitCode)
		}
	}
	return outcome + ", " + r.blocks()
}

func (r Report) blocks() string {
	for _, sort := range []struct {
		what  string
		which func(Lock) bool
	}{
		{"reads and writes", func(l Lock) bool { return l.BlocksReads }},
		{"writes", func(l Lock) bool { return l.BlocksWrites }},
	} {
		var worst *Lock
		for i, l := range r.Locks {
			if sort.which(l) && (worst == nil || l.Blocked() > worst.Blocked()) {
				worst = &r.Locks[i]
			}
		}
		if worst != nil {
			return fmt.Sprintf("blocks %s of %s for %s", sort.what, worst.Table, atLeast(worst.Blocked()))
		}
	}
	return "was not seen to block reads or writes"
}

// atLeast writes a sampled time: one that ended at the first sample is not 0.
func atLeast(d time.Duration) string {
	if d < time.Millisecond {
		return "a moment"
	}
	return took(d)
}

// lockGroup is locks that differ only in when and how long, as those of a
// statement that runs in many transactions.
type lockGroup struct {
	Lock
	times int
}

// groups merges locks that look the same to a reader, the most dangerous first.
func groups(locks []Lock) []lockGroup {
	type looks struct{ statement, mode, table, database string }
	var list []lockGroup
	index := map[looks]int{}
	for _, l := range locks {
		key := looks{l.Statement, l.Mode, l.Table, l.Database}
		i, known := index[key]
		if !known {
			index[key] = len(list)
			list = append(list, lockGroup{l, 1})
			continue
		}
		list[i].times++
		if l.Blocked() > list[i].Blocked() {
			list[i].Lock = l
		}
	}
	slices.SortStableFunc(list, func(a, b lockGroup) int { return byDanger(a.Lock, b.Lock) })
	return list
}

// shuts says whom a lock shuts out.
func (l Lock) shuts() string {
	switch {
	case l.BlocksReads:
		return "reads, writes"
	case l.BlocksWrites:
		return "writes"
	}
	return "schema changes"
}

// where names a relation, with its database if there is more than one.
func where(name, database string, several bool) string {
	if several {
		return database + ": " + name
	}
	return name
}

// severalDatabases says that the command had to do with more than one database.
func (r Report) severalDatabases() bool {
	first := ""
	several := false
	note := func(database string) {
		if first == "" {
			first = database
		}
		several = several || database != first
	}
	for _, l := range r.Locks {
		note(l.Database)
	}
	for _, w := range r.Rewrites {
		note(w.Database)
	}
	for _, g := range r.Growth {
		note(g.Database)
	}
	for _, rel := range r.Created {
		note(rel.Database)
	}
	for _, rel := range r.Dropped {
		note(rel.Database)
	}
	return several
}

// sampled says how far the locks can be trusted.
func (r Report) sampled() string {
	return fmt.Sprintf("Locks were sampled every %s, with a longest gap of %s: shorter ones can be missing, and times are off by at most that.",
		took(r.Sampling.Interval.Duration), took(r.Sampling.MaxGap.Duration))
}

// commandLine is the command as a person would write it, more or less.
func (r Report) commandLine() string { return strings.Join(r.Command, " ") }
