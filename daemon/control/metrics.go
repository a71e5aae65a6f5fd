package control

import "time"

// Operation names, as in Metrics. They are few and never hold an ID.
const (
	OpCreate  = "create"
	OpReset   = "reset"
	OpDelete  = "delete"
	OpUndo    = "undo"
	OpSuspend = "suspend"
	OpResume  = "resume"
	OpRestart = "restart"
	OpRefresh = "refresh"
)

// ResultOK is the result of what succeeded; that of what failed is the
// errs.Kind's name.
const ResultOK = "ok"

// Metrics is told what the Plane does. Methods return at once and may be
// called at the same time. All labels are bounded: operations, phases, results
// and actions are constants of this package and of errs.
type Metrics interface {
	// Phase is called as each phase of an operation ends.
	Phase(op, phase, result string, took time.Duration)
	// Operation is called as an operation ends.
	Operation(op, result string, took time.Duration)
	// Action is called for each step of a plan that was applied.
	Action(kind, result string)
	// Restart is called when a clone's instance ended by itself.
	Restart(golden string, oom bool)
	// Reconcile is called as each pass ends.
	Reconcile(result string, took time.Duration)
	// Orphans is called after each pass with what it found, and whether it
	// refused to sweep because there were too many.
	Orphans(n int, alarm bool)
}

// NoMetrics is a Metrics that drops everything.
type NoMetrics struct{}

func (NoMetrics) Phase(string, string, string, time.Duration) {}
func (NoMetrics) Operation(string, string, time.Duration)     {}
func (NoMetrics) Action(string, string)                       {}
func (NoMetrics) Restart(string, bool)                        {}
func (NoMetrics) Reconcile(string, time.Duration)             {}
func (NoMetrics) Orphans(int, bool)                           {}
