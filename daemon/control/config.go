package control

import (
	"log/slog"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// Config is what a Plane works with. Store, Driver, Runtime, Engines, Key and
// the port range are needed; the rest has defaults.
type Config struct {
	Store   *state.Store
	Driver  storage.Driver
	Runtime container.Runtime
	// Engines by name; "postgres" is the default of a golden that names none.
	Engines map[string]database.Engine
	Log     *slog.Logger
	// Metrics may be nil.
	Metrics Metrics
	// Now is the host's clock; nil for time.Now. Clock is that of its boot; without a
	// Since the kernel's.
	Now   func() time.Time
	Clock BootClock
	// Instance is the short ID of this installation, Version the daemon's.
	Instance string
	Version  string
	// DriverReason and RuntimeReason say why these were picked, for Status.
	DriverReason, RuntimeReason string
	// Addr is the address that clones' ports are published on.
	Addr                string
	PortFirst, PortLast int
	// MaxClones bounds the number of clones; 0 for no bound.
	MaxClones int
	// MemoryBytes is what all clones' memory limits may add up to, 0 for no bound;
	// CloneMemoryBytes the limit of a clone whose golden has none, 0 for none.
	MemoryBytes, CloneMemoryBytes int64
	// GoldenLimits bound the clones of a golden, whoever made them, by its name.
	GoldenLimits map[string]Limits
	// FloorBytes is the free space of the pool below which creation is refused.
	FloorBytes int64
	// DefaultTTL is for clones that ask for none, MaxTTL the longest that may be
	// asked for; 0 for none.
	DefaultTTL, MaxTTL time.Duration
	// KeepFor is how long what a reset or a deletion replaces can be brought back;
	// 0 for not at all. KeepBytes bounds what all of it takes, 0 for no bound.
	KeepFor   time.Duration
	KeepBytes int64
	// KeepExpired: a clone whose time is over is kept like one that is deleted.
	KeepExpired bool
	// Expired, if set, is told of each clone that is deleted because its time was
	// over; an error is logged.
	Expired func(c state.Clone) error
	// Key is the 32 bytes that clones' passwords are derived from.
	Key []byte
	// ReconcileEvery is the time between passes; 0 for 10 s.
	ReconcileEvery time.Duration
	// SweepLimit is how many orphans a pass may sweep: with more it sweeps none
	// and raises an alarm; 0 for 5.
	SweepLimit int
	// Fault, if set, is called before and after each outside step with its
	// name (see FaultPoints); an error makes the step fail. For tests.
	Fault func(point string) error
}

// Defaults of Config.
const (
	DefaultReconcileEvery = 10 * time.Second
	DefaultSweepLimit     = 5
	DefaultEngine         = "postgres"
)
