package state

import (
	"maps"
	"slices"
	"time"
)

// Golden is a named database that the daemon keeps.
type Golden struct {
	Name    string        `json:"name"`
	Engine  string        `json:"engine"`
	Source  GoldenSource  `json:"source"`
	Options GoldenOptions `json:"options"`
	Created time.Time     `json:"created"`
	// Published is false while the golden's first refresh runs: such a golden
	// goes away with a refresh that fails or dies.
	Published bool   `json:"published"`
	Revision  uint64 `json:"revision"`
}

// GoldenSource is where a golden's data comes from. Secrets are never in it,
// only the file that holds them.
type GoldenSource struct {
	Kind         string `json:"kind"` // database.SourceKind
	Directory    string `json:"directory,omitempty"`
	ConnInfo     string `json:"conninfo,omitempty"`
	PasswordFile string `json:"password_file,omitempty"`
	// Dataset is the driver's name of a foreign dataset.
	Dataset string `json:"dataset,omitempty"`
	// Clone is the name of a clone, and Snapshot the ID of one of its snapshots;
	// empty for the clone's present state.
	Clone    string `json:"clone,omitempty"`
	Snapshot string `json:"snapshot,omitempty"`
	// DataDir is the data directory inside the dataset; "." for its root.
	DataDir string `json:"data_dir,omitempty"`
}

// GoldenOptions is what an operator may choose for the clones of a golden.
type GoldenOptions struct {
	Image       string            `json:"image,omitempty"` // empty: the engine's default
	Database    string            `json:"database,omitempty"`
	Settings    map[string]string `json:"settings,omitempty"`
	Durable     bool              `json:"durable,omitempty"`
	Vacuum      bool              `json:"vacuum,omitempty"`
	MemoryBytes int64             `json:"memory_bytes,omitempty"`
	CPUs        float64           `json:"cpus,omitempty"`
	PIDs        int64             `json:"pids,omitempty"`
	ShmBytes    int64             `json:"shm_bytes,omitempty"`
}

// SnapshotState is how far a golden's snapshot is.
type SnapshotState string

const (
	// SnapshotPreparing: a refresh works on it; one of a clone is being taken.
	SnapshotPreparing SnapshotState = "preparing"
	// SnapshotReady: it can be cloned.
	SnapshotReady SnapshotState = "ready"
	// SnapshotDeleting: it is gone for users and goes when nothing descends from it.
	SnapshotDeleting SnapshotState = "deleting"
)

// Snapshot is a prepared state of a golden, or a state of a clone.
//
// A golden's has a volume named "g-<ID>", and the driver's snapshot of that
// volume is "ready"; for an in-place source the foreign snapshot that the volume
// was cloned from is named by ID. A clone's is the driver's snapshot <ID> of the
// volume of that generation.
type Snapshot struct {
	ID      string        `json:"id"`
	Golden  string        `json:"golden"`
	State   SnapshotState `json:"state"`
	Created time.Time     `json:"created"`

	// Clone is the ID of the clone that it is a state of, in that Generation,
	// which came from the snapshot Parent; all empty for a golden's, but for the
	// Parent of one that was published from a clone.
	Clone      string `json:"clone,omitempty"`
	Generation int64  `json:"generation,omitempty"`
	Parent     string `json:"parent,omitempty"`
	// Name is what users call it, unique among the clone's.
	Name    string `json:"name,omitempty"`
	Message string `json:"message,omitempty"`
	Author  string `json:"author,omitempty"`
	// For is the ID of the clone or golden's snapshot that it was taken for: such a
	// one is not shown, and goes with the last that descends from it.
	For string `json:"for,omitempty"`
	// Failure says why it could not be taken; FailurePasses that the next one may
	// well be.
	Failure       string `json:"failure,omitempty"`
	FailurePasses bool   `json:"failure_passes,omitempty"`

	// Foreign is the dataset in which our foreign snapshot lives, if any.
	Foreign string `json:"foreign,omitempty"`
	// DataDir is the data directory inside the volume.
	DataDir string `json:"data_dir"`
	// Image is what prepared it and what its clones run, as the operator wrote
	// it; ImageID is the runtime's immutable identity of it.
	Image   string `json:"image"`
	ImageID string `json:"image_id"`
	// What the engine found out; see database.Facts and database.Prepared.
	Major            int               `json:"major"`
	SystemID         string            `json:"system_id,omitempty"`
	UID              int               `json:"uid"`
	GID              int               `json:"gid"`
	Database         string            `json:"database"`
	Databases        []string          `json:"databases,omitempty"`
	SizeBytes        int64             `json:"size_bytes"`
	PreloadLibraries []string          `json:"preload_libraries,omitempty"`
	Parameters       map[string]string `json:"parameters,omitempty"`
	CanCount         bool              `json:"can_count,omitempty"`
	Defused          []string          `json:"defused,omitempty"`
	Warnings         []string          `json:"warnings,omitempty"`
	Revision         uint64            `json:"revision"`
}

// CloneState is what users see of a clone.
type CloneState string

const (
	// CloneCreating: its volume or instance is being made for the first time.
	CloneCreating CloneState = "creating"
	// CloneReady: it answers.
	CloneReady CloneState = "ready"
	// CloneStarting: its instance is being started again.
	CloneStarting CloneState = "starting"
	// CloneCrashed: its instance ended by itself and waits for its restart.
	CloneCrashed CloneState = "crashed"
	// CloneResetting: a new generation is being made.
	CloneResetting CloneState = "resetting"
	// CloneSuspending: its instance is being stopped.
	CloneSuspending CloneState = "suspending"
	// CloneSuspended: its instance is stopped, its volume kept.
	CloneSuspended CloneState = "suspended"
	// CloneFailed: it can't be brought back by itself; Message says why.
	CloneFailed CloneState = "failed"
	// CloneDeleting: it is gone for users; its parts are being removed.
	CloneDeleting CloneState = "deleting"
)

// Clone is what a user gets. Its volume and its instance of generation G are
// both named "c-<ID>-<G>".
type Clone struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Golden string `json:"golden"`
	// Snapshot is what the present generation came from: a snapshot of the
	// golden, or of a clone of it.
	Snapshot string `json:"snapshot"`
	Branch   string `json:"branch,omitempty"`
	Owner    string `json:"owner,omitempty"`
	// Principal is who asked for it, as proved; Owner is only what was said. Empty
	// for one that was adopted: nobody's.
	Principal string            `json:"principal,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Protect   bool              `json:"protect,omitempty"`
	// Spec is a digest of what the create asked for, to tell the same request
	// again from another one under the same name.
	Spec    string    `json:"spec"`
	Created time.Time `json:"created"`
	// Expires is when it is deleted; zero for never.
	Expires time.Time `json:"expires,omitzero"`
	// Held: it lives while its holder does, whose connection only the daemon that
	// has it knows of; Expires is then a while after the last one ended.
	Held bool `json:"held,omitempty"`
	// CountStatements: its server counts statements, if the image can.
	CountStatements bool `json:"count_statements,omitempty"`

	Addr string `json:"addr"`
	Port int    `json:"port"`
	// MemoryBytes is what its instance may use, 0 for no limit; DiskBytes what its
	// volume may grow by, 0 for all there is.
	MemoryBytes int64 `json:"memory_bytes,omitempty"`
	DiskBytes   int64 `json:"disk_bytes,omitempty"`
	// Generation is the present volume's; 0 before the first is whole.
	Generation int64 `json:"generation"`
	// Next is the generation being made, with its snapshot; 0 if none. It
	// becomes the present one at the end, or goes away.
	Next         int64  `json:"next,omitempty"`
	NextSnapshot string `json:"next_snapshot,omitempty"`
	// LastGeneration is the highest number ever given out: IDs are not reused.
	LastGeneration int64 `json:"last_generation"`
	// Trash are generations that are no longer wanted, or never became whole:
	// their instances and volumes are removed when nothing descends from them.
	Trash []int64 `json:"trash,omitempty"`
	// Kept are generations that were replaced and can be brought back, oldest
	// first. They have a volume and no instance.
	Kept []KeptGeneration `json:"kept,omitempty"`
	// KeptUntil is until when a clone in state deleting can be brought back; zero
	// if it can't.
	KeptUntil time.Time `json:"kept_until,omitzero"`
	// NotKept: what the reset that is being made replaces is not to be kept.
	NotKept bool `json:"not_kept,omitempty"`
	// Claimed is the generation whose credentials have been set.
	Claimed int64 `json:"claimed"`
	// Taking are the snapshots that are being taken of the present generation, in
	// the order in which they were asked for.
	Taking []string `json:"taking,omitempty"`

	// Suspend: the user wants no instance.
	Suspend bool `json:"suspend,omitempty"`
	// Renew: the instance has to be made anew before it runs again, for its port
	// has changed.
	Renew bool       `json:"renew,omitempty"`
	State CloneState `json:"state"`
	// Message says why, for states crashed and failed.
	Message string `json:"message,omitempty"`
	// DropOnFailure: a create that fails leaves no record (its caller waits).
	DropOnFailure bool `json:"drop_on_failure,omitempty"`

	// Restarts counts how often its instance ended by itself, OOMKills how often
	// for want of memory.
	Restarts int `json:"restarts,omitempty"`
	OOMKills int `json:"oom_kills,omitempty"`
	// Failures counts restarts that came to nothing or did not last: the longer
	// the row, the longer the wait until NextRestart.
	Failures    int       `json:"failures,omitempty"`
	NextRestart time.Time `json:"next_restart,omitzero"`
	// ReadySince is when it last began to answer.
	ReadySince time.Time `json:"ready_since,omitzero"`
	// Timings is how long each phase of the last create or reset took.
	Timings  []Timing `json:"timings,omitempty"`
	Revision uint64   `json:"revision"`
}

// KeptGeneration is a state of a clone that an operation replaced.
type KeptGeneration struct {
	Generation int64 `json:"generation"`
	// Snapshot is what it came from.
	Snapshot string `json:"snapshot"`
	// Since is when it was replaced, Until when it is forgotten.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Settled: nothing is left of its instance.
	Settled bool `json:"settled,omitempty"`
}

// Timing is how long a phase took.
type Timing struct {
	Phase string        `json:"phase"`
	Took  time.Duration `json:"took"`
}

// Clock ties the host's clock to one that nobody sets, that of a boot: recorded
// times mean what they did when it was written.
type Clock struct {
	// Boot is the boot's ID; empty if none was ever noted.
	Boot string `json:"boot"`
	// Zero is what the host's clock shows, or would have shown, when it booted.
	Zero time.Time `json:"zero"`
}

// Event is one change of a clone as users see it: its last state if it is
// Deleted.
type Event struct {
	Revision uint64 `json:"revision"`
	Deleted  bool   `json:"deleted,omitempty"`
	Clone    Clone  `json:"clone"`
}

// Generations returns every generation that may have a volume or an instance.
func (c Clone) Generations() []int64 {
	var out []int64
	all := append([]int64{c.Generation, c.Next}, c.Trash...)
	for _, k := range c.Kept {
		all = append(all, k.Generation)
	}
	for _, g := range all {
		if g != 0 && !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	return out
}

// IsKept says whether the generation can be brought back.
func (c Clone) IsKept(g int64) bool {
	return slices.ContainsFunc(c.Kept, func(k KeptGeneration) bool { return k.Generation == g })
}

// copy shares no memory with g.
func (g Golden) copy() Golden {
	g.Options.Settings = maps.Clone(g.Options.Settings)
	return g
}

// copy shares no memory with s.
func (s Snapshot) copy() Snapshot {
	s.Databases = slices.Clone(s.Databases)
	s.PreloadLibraries = slices.Clone(s.PreloadLibraries)
	s.Parameters = maps.Clone(s.Parameters)
	s.Defused = slices.Clone(s.Defused)
	s.Warnings = slices.Clone(s.Warnings)
	return s
}

// copy shares no memory with c.
func (c Clone) copy() Clone {
	c.Labels = maps.Clone(c.Labels)
	c.Trash = slices.Clone(c.Trash)
	c.Taking = slices.Clone(c.Taking)
	c.Kept = slices.Clone(c.Kept)
	c.Timings = slices.Clone(c.Timings)
	return c
}
