package control

import (
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/internal/secret"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// CreateRequest asks for a clone. Names are validated by the Plane as well as
// by the API, for it is called by more than one.
type CreateRequest struct {
	Name   string
	Golden string
	// From is the clone to fork; exactly one of Golden and From is set.
	From string `json:",omitempty"`
	// Snapshot is a snapshot ID of the golden, empty for the newest; or with
	// From one of that clone's lineage (ID, or name of one of its own), empty for
	// its present state.
	Snapshot string
	Branch   string
	Owner    string
	Labels   map[string]string
	// TTL is the clone's life from now; 0 for the configured default, negative is invalid.
	TTL     time.Duration
	Protect bool
	// Port is the port to publish; 0 for the next free one of the range.
	Port int
	// Held: it lives while somebody holds it (HoldClone), and HoldGrace longer.
	Held bool `json:",omitempty"`
	// anyTTL: it named none.
	anyTTL bool
	// Queue is how long to wait for room if a limit stands in the way; 0 not at all.
	Queue time.Duration `json:",omitempty"`
	// CountStatements: its server counts statements, if the image can.
	CountStatements bool `json:",omitempty"`
	// Wait: return when the clone is ready or has failed; a clone that fails is
	// then removed. Without it the record is returned at once.
	Wait bool
}

// CloneUpdate changes attributes of a clone; nil fields stay.
type CloneUpdate struct {
	// TTL counts from now; 0 means for ever. A clone that was held is no longer.
	TTL     *time.Duration
	Protect *bool
	// SetLabels and RemoveLabels change single labels.
	SetLabels    map[string]string
	RemoveLabels []string
	// Revision, if not 0, must be the clone's present one: errs.Conflict otherwise.
	Revision uint64
}

// CloneFilter selects clones; empty fields match all.
type CloneFilter struct {
	Golden string
	Branch string
	Owner  string
	Labels map[string]string
	State  state.CloneState
}

// SnapshotRequest asks for a snapshot of a clone.
type SnapshotRequest struct {
	Clone string
	// Name is unique among the clone's snapshots; empty for the snapshot's ID.
	Name    string
	Message string
	Author  string
}

// NodeKind says what a Node is.
type NodeKind string

const (
	NodeGolden   NodeKind = "golden"
	NodeSnapshot NodeKind = "snapshot"
	NodeClone    NodeKind = "clone"
)

// Node is a golden, a snapshot or a clone in the tree of what descends from what.
type Node struct {
	Kind NodeKind
	// ID is a golden's name, or an ID; Parent that of what it descends from.
	ID, Parent           string
	Name, Owner, Message string
	Created              time.Time
	State                state.CloneState // of a clone
	// Deleted: only kept for what descends from it.
	Deleted bool
	// UniqueBytes is what only it holds.
	UniqueBytes int64
}

// ResetRequest asks to put a clone back.
type ResetRequest struct {
	Name string
	// Newest: to the golden's newest snapshot instead of the clone's own origin.
	Newest bool
	// Snapshot is one of the clone's lineage: an ID, or the name of one of its
	// own; empty to choose by Newest.
	Snapshot string
	// Clone: to the present state of that clone, which is of the same golden.
	Clone string
	// Now: what is replaced is not kept.
	Now  bool
	Wait bool
}

// DeleteRequest asks to delete a clone.
type DeleteRequest struct {
	Name string
	// Now: it can't be brought back.
	Now  bool
	Wait bool
}

// CreateGoldenRequest asks for a golden and its first snapshot.
type CreateGoldenRequest struct {
	Name    string
	Engine  string // empty: "postgres"
	Source  state.GoldenSource
	Options state.GoldenOptions
}

// Progress is how far a refresh is.
type Progress struct {
	// Phase is one of the Phase constants.
	Phase   string
	Message string
	// Done and Total are bytes; Total is 0 while unknown.
	Done, Total int64
	// Snapshot is set in the last message.
	Snapshot *state.Snapshot
}

// Phases of operations, as in timings, progress, errors and metrics.
const (
	PhaseAdmit   = "admit"   // limits, port, record
	PhaseVolume  = "volume"  // storage driver
	PhaseStart   = "start"   // container runtime
	PhaseReady   = "ready"   // first protocol answer
	PhaseClaim   = "claim"   // the login through the endpoint, and whose it is
	PhaseStop    = "stop"    // old generation's instance
	PhaseCommit  = "commit"  // state written
	PhaseRemove  = "remove"  // instance
	PhaseDestroy = "destroy" // volume

	PhaseProbe    = "probe"    // source and image
	PhaseFill     = "fill"     // bytes copied
	PhasePrepare  = "prepare"  // recovery, defusing, clean shutdown
	PhaseSnapshot = "snapshot" // published
)

// EventType says what happened to a clone.
type EventType string

const (
	EventPut    EventType = "put"
	EventDelete EventType = "delete"
)

// Event is one change of a clone. Revisions grow and are never reused.
type Event struct {
	Revision uint64
	Type     EventType
	Clone    state.Clone
}

// Endpoint is how a user reaches a clone.
type Endpoint struct {
	Addr     string
	Port     int
	Role     string
	Password secret.Text
	Database string
	URL      secret.Text // with the password
}

// CloneUsage is what a clone costs.
type CloneUsage = storage.Usage

// Status is the host as the daemon sees it.
type Status struct {
	Version       string
	Instance      string
	Driver        string
	DriverReason  string
	Thin          bool
	Runtime       string
	RuntimeReason string
	Isolated      bool
	Space         storage.Space
	FloorBytes    int64
	Clones        map[state.CloneState]int
	Goldens       int
	Snapshots     int
	MaxClones     int
	Ports         [2]int // first and last of the range
	PortsFree     int
	Orphans       int
	// Degraded says, for people, each thing that is not as it should be.
	Degraded      []string
	LastReconcile time.Time
	Limits        container.Capabilities
}
