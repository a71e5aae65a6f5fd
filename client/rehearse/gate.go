package rehearse

import (
	"fmt"
	"strings"
	"time"
)

// Gate is a set of limits that a report must keep to. The zero Gate lets
// everything pass.
type Gate struct{ limits []limit }

// limit is one term of a gate, such as wal>1GB.
type limit struct {
	term term
	text string
	// bare means that there is no limit: anything at all is too much.
	bare bool
	// most is the limit: nanoseconds or bytes.
	most int64
}

// Check returns why a report does not pass, a line for each term of the gate
// that it breaks; none means that it passes.
func (g Gate) Check(r Report) []string {
	var reasons []string
	for _, l := range g.limits {
		if reason := l.term.check(r, l); reason != "" {
			reasons = append(reasons, l.text+": "+reason)
		}
	}
	return reasons
}

// String returns the gate as ParseGate reads it.
func (g Gate) String() string {
	texts := make([]string, len(g.limits))
	for i, l := range g.limits {
		texts[i] = l.text
	}
	return strings.Join(texts, ",")
}

// exceeds says that a value breaks the limit.
func (l limit) exceeds(v int64) bool { return l.bare || v > l.most }

// what a term's limit is measured in.
type unit int

const (
	none unit = iota
	span
	bytes
)

// term is a word that a gate can be made of.
type term struct {
	name string
	unit unit
	// bare says that the word may stand without a limit.
	bare bool
	help string
	// check returns how the report breaks the limit; empty if it does not.
	check func(Report, limit) string
}

// terms are the words, in the order in which they are listed to the user.
func terms() []term {
	return []term{
		{"exclusive-lock", span, true, "an AccessExclusive or Exclusive lock held for longer", anyLock(
			func(l Lock) bool { return l.Mode == "AccessExclusive" || l.Mode == "Exclusive" }, held)},
		{"share-lock", span, true, "a Share or ShareRowExclusive lock held for longer", anyLock(
			func(l Lock) bool { return l.Mode == "Share" || l.Mode == "ShareRowExclusive" }, held)},
		{"blocks-reads", span, true, "readers of a table shut out for longer, counted from the lock's request", anyLock(
			func(l Lock) bool { return l.BlocksReads }, Lock.Blocked)},
		{"blocks-writes", span, true, "writers of a table shut out for longer, counted from the lock's request", anyLock(
			func(l Lock) bool { return l.BlocksWrites }, Lock.Blocked)},
		{"rewrite", bytes, true, "tables and indexes of more bytes in all rewritten", checkRewrite},
		{"wal", bytes, false, "more write-ahead log written", func(r Report, l limit) string {
			return over(l, r.WALBytes, size(r.WALBytes)+" of WAL written")
		}},
		{"growth", bytes, false, "the databases grown by more", func(r Report, l limit) string {
			return over(l, r.SizeAfter-r.SizeBefore, "the databases grew by "+size(r.SizeAfter-r.SizeBefore))
		}},
		{"duration", span, false, "the command ran for longer", func(r Report, l limit) string {
			return over(l, int64(r.Took.Duration), "the command ran for "+took(r.Took.Duration))
		}},
		{"error", none, true, "the command failed, or the server logged an error", checkError},
	}
}

func held(l Lock) time.Duration { return l.Held.Duration }

func over(l limit, v int64, reason string) string {
	if !l.exceeds(v) {
		return ""
	}
	return reason
}

// anyLock makes a check that names the worst lock of some kind.
func anyLock(which func(Lock) bool, long func(Lock) time.Duration) func(Report, limit) string {
	return func(r Report, l limit) string {
		var worst *Lock
		more := 0
		for i, lock := range r.Locks {
			if !which(lock) || !l.exceeds(int64(long(lock))) {
				continue
			}
			more++
			if worst == nil || long(lock) > long(*worst) {
				worst = &r.Locks[i]
			}
		}
		if worst == nil {
			return ""
		}
		reason := fmt.Sprintf("%s on %s for %s by %s", worst.Mode, worst.Table, took(long(*worst)), cut(worst.Statement, 80))
		if more > 1 {
			reason += fmt.Sprintf(" (and %d more)", more-1)
		}
		return reason
	}
}

func checkRewrite(r Report, l limit) string {
	if len(r.Rewrites) == 0 {
		return ""
	}
	sum, names := int64(0), []string{}
	for _, w := range r.Rewrites {
		sum += w.Bytes
		names = append(names, w.Table)
	}
	if len(names) > 5 {
		names = append(names[:5], "…")
	}
	return over(l, sum, size(sum)+" rewritten: "+strings.Join(names, ", "))
}

func checkError(r Report, _ limit) string {
	if r.Failed() {
		if r.Error == "" {
			return fmt.Sprintf("the command ended with exit code %d", r.ExitCode)
		}
		return "the command failed: " + r.Error
	}
	for _, line := range r.Log {
		if line.Severity != "WARNING" {
			return fmt.Sprintf("the server logged %s: %s", line.Severity, line.Message)
		}
	}
	return ""
}
