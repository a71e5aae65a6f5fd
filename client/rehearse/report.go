package rehearse

import (
	"encoding/json"
	"time"
)

// Report is what a command did to a server. It is complete if the call that
// returned it returned no error; Notes says what could not be found out.
type Report struct {
	// Command is the program and its arguments, if the caller named them.
	Command []string `json:"command,omitempty"`
	// Started is when the watching began, Took how long the command ran.
	Started time.Time `json:"started"`
	Took    Duration  `json:"took_ms"`
	// ExitCode is 0 if the command succeeded, and -1 if it failed otherwise
	// than by exiting: it was killed, did not start, or ran out of time.
	ExitCode int `json:"exit_code"`
	// Error says how the command failed; empty if it succeeded.
	Error string `json:"error,omitempty"`
	// TimedOut says that the command was ended because its time was over.
	TimedOut bool     `json:"timed_out,omitempty"`
	Sampling Sampling `json:"sampling"`

	// Locks are the ones on tables, indexes and the like that block writers or
	// readers or other changes of the schema, the most dangerous first.
	Locks []Lock `json:"locks"`
	// LocksOmitted counts the least dangerous ones, left out of Locks because
	// there were more than a thousand.
	LocksOmitted int `json:"locks_omitted,omitempty"`
	// WeakLocks counts locks that queries and ordinary writes take: AccessShare,
	// RowShare and RowExclusive, one for each transaction, table and mode.
	WeakLocks int `json:"weak_locks"`
	// PrivateLocks counts strong locks that nobody else can run into: on
	// relations that the same transaction made, on temporary and on TOAST tables.
	PrivateLocks int `json:"private_locks"`

	// Statements are the twenty that took the most time, in all databases.
	Statements []Statement `json:"statements"`
	// StatementsSampled says that Statements were seen in pg_stat_activity, so
	// that those shorter than the sampling interval are mostly missing; otherwise
	// they are from pg_stat_statements, which has only those that succeeded.
	StatementsSampled bool `json:"statements_sampled"`

	// Rewrites are relations that got a new file; Created and Dropped those
	// that are there only after or only before.
	Rewrites []Rewrite  `json:"rewrites"`
	Created  []Relation `json:"created"`
	Dropped  []Relation `json:"dropped"`
	// WALBytes is how much write-ahead log the server wrote.
	WALBytes int64 `json:"wal_bytes"`
	// SizeBefore and SizeAfter are of all databases together, in bytes.
	SizeBefore int64 `json:"size_before"`
	SizeAfter  int64 `json:"size_after"`
	// Growth has the twenty tables whose size changed the most.
	Growth []Growth `json:"growth"`

	// Log has the server's warnings and errors, if the caller gave its log.
	Log []LogLine `json:"log"`
	// Notes says what the report lacks, and why.
	Notes []string `json:"notes,omitempty"`

	// Broken is why the report does not pass the caller's gate, as Gate.Check says
	// it; the caller sets it.
	Broken []string `json:"broken,omitempty"`

	// Schema is how the schema differs, for programs; SchemaMarkdown the same
	// for people, and SchemaStatements the SQL that leads from the one to the
	// other. The caller sets them; this package only passes them on.
	Schema           any      `json:"schema,omitempty"`
	SchemaMarkdown   string   `json:"-"`
	SchemaStatements []string `json:"schema_statements,omitempty"`
}

// Failed says that the command did not succeed.
func (r Report) Failed() bool { return r.ExitCode != 0 || r.Error != "" }

// Sampling says how well locks could be seen.
type Sampling struct {
	// Interval is what was asked for.
	Interval Duration `json:"interval_ms"`
	// MaxGap is the longest time in which the watcher saw nothing: from asking
	// for one sample to having the next.
	MaxGap Duration `json:"max_gap_ms"`
	// Samples is how many there were.
	Samples int `json:"samples"`
}

// Statement is one statement's share of the work.
type Statement struct {
	// Statement is its text with single spaces, cut at 500 characters.
	Statement string `json:"statement"`
	Database  string `json:"database"`
	Calls     int64  `json:"calls"`
	// Total is the time of all calls together. Where it is sampled, it is made
	// up of whole sampling intervals.
	Total Duration `json:"total_ms"`
	// Rows and WALBytes are 0 where the statements are sampled, and before
	// PostgreSQL 13 there is no WALBytes.
	Rows     int64 `json:"rows"`
	WALBytes int64 `json:"wal_bytes"`
	// FirstSeen and LastSeen are offsets from Report.Started; only where the
	// statements are sampled.
	FirstSeen Duration `json:"first_seen_ms,omitzero"`
	LastSeen  Duration `json:"last_seen_ms,omitzero"`
}

// Rewrite is a table, index or materialized view that has another file than
// before. Not only ALTER TABLE, VACUUM FULL, CLUSTER and REINDEX do that:
// TRUNCATE does too, which leaves a small Bytes.
type Rewrite struct {
	Table       string `json:"table"`
	Kind        string `json:"kind"`
	Database    string `json:"database"`
	OldFilenode uint32 `json:"old_filenode"`
	NewFilenode uint32 `json:"new_filenode"`
	// Bytes is the size of what was written: the new file with its TOAST table,
	// without the table's indexes, which are listed for themselves.
	Bytes int64 `json:"bytes"`
}

// Relation is a table, index, view, sequence or the like.
type Relation struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Database string `json:"database"`
	// Bytes is its size without the table's indexes; 0 for a view.
	Bytes int64 `json:"bytes"`
}

// Growth is how the size of one table changed, with its indexes and TOAST.
type Growth struct {
	Table    string `json:"table"`
	Database string `json:"database"`
	Before   int64  `json:"before"`
	After    int64  `json:"after"`
	Delta    int64  `json:"delta"`
}

// Duration is a time.Duration that is a number of milliseconds in JSON.
type Duration struct{ time.Duration }

// MarshalJSON writes milliseconds, to the microsecond.
func (d Duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(float64(d.Microseconds()) / 1000)
}

// UnmarshalJSON reads milliseconds.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var ms float64
	if err := json.Unmarshal(data, &ms); err != nil {
		return err
	}
	d.Duration = time.Duration(ms * float64(time.Millisecond)).Round(time.Microsecond)
	return nil
}
