package rehearse

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Lock is a lock that a transaction held or waited for on one relation. Locks
// are merged per transaction, relation and mode.
type Lock struct {
	// Statement is what the session ran when the lock was first seen: its text
	// with single spaces, cut at 500 characters.
	Statement string `json:"statement"`
	// Mode is as in PostgreSQL's documentation without "Lock", e.g.
	// "AccessExclusive".
	Mode string `json:"mode"`
	// Table is the relation, with its schema; it may be an index. Its name is
	// the one it had when the watching began, if it was there.
	Table    string `json:"table"`
	Database string `json:"database"`
	// Held is the time from the first sample in which the lock was granted to
	// the first in which it was gone: one interval more than it was seen for.
	// The truth is within Sampling.MaxGap of it. A lock that was still held at
	// the end counts up to then.
	Held Duration `json:"held_ms"`
	// Waited is the same for the time before it was granted, if ever.
	Waited Duration `json:"waited_ms"`
	// FirstSeen is the offset from Report.Started.
	FirstSeen Duration `json:"first_seen_ms"`
	// BlocksReads and BlocksWrites say what nobody else can do meanwhile.
	BlocksReads  bool `json:"blocks_reads"`
	BlocksWrites bool `json:"blocks_writes"`
}

// Blocked is how long others were shut out: from the request on, because later
// requests that conflict with it queue behind it, even while it waits itself.
func (l Lock) Blocked() time.Duration { return l.Waited.Duration + l.Held.Duration }

// What the modes block is table 13.2 of PostgreSQL's documentation, section
// 13.3.1: a SELECT takes AccessShare, which conflicts with AccessExclusive
// alone; INSERT, UPDATE, DELETE and MERGE take RowExclusive.

func blocksReads(mode string) bool { return mode == "AccessExclusive" }

func blocksWrites(mode string) bool {
	switch mode {
	case "Share", "ShareRowExclusive", "Exclusive", "AccessExclusive":
		return true
	}
	return false
}

// weak says that ordinary queries and writes take the mode.
func weak(mode string) bool {
	return mode == "AccessShare" || mode == "RowShare" || mode == "RowExclusive"
}

// strength orders the modes by how much they conflict with.
func strength(mode string) int {
	return slices.Index([]string{"ShareUpdateExclusive", "Share", "ShareRowExclusive", "Exclusive", "AccessExclusive"}, mode)
}

// byDanger orders locks by whom they block, then for how long.
func byDanger(a, b Lock) int {
	return cmp.Or(
		-cmp.Compare(danger(a), danger(b)),
		-cmp.Compare(a.Blocked(), b.Blocked()),
		-cmp.Compare(strength(a.Mode), strength(b.Mode)),
		cmp.Compare(a.FirstSeen.Duration, b.FirstSeen.Duration),
		strings.Compare(a.Database, b.Database),
		strings.Compare(a.Table, b.Table),
	)
}

func danger(l Lock) int {
	switch {
	case l.BlocksReads:
		return 2
	case l.BlocksWrites:
		return 1
	}
	return 0
}
