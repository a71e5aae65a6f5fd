package control

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// Plane is the control plane. Its methods may be called at the same time, and
// before Run; what they begin goes on when their ctx ends.
type Plane struct {
	cfg     Config
	store   *state.Store
	log     *slog.Logger
	metrics Metrics
	ports   *ports
	space   *space
	owners  *owners
	waiters waiters
	health  health
	queue   *queue

	// ctx is that of all work that is not a request's own; Run ends it.
	ctx    context.Context
	cancel context.CancelFunc
	// wasEmpty: the store had never held anything when the Plane was made.
	wasEmpty bool
	// restarts bounds how many instances are started at once by themselves, as
	// after the host's restart.
	restarts chan struct{}

	mu         sync.Mutex
	operations map[string]*operation // by clone ID: what a request is waiting for
	deadlines  map[string]deadline   // by clone ID, and what of it
	holders    map[string]int        // by clone ID
	refreshing map[string]bool       // snapshots that a refresh works on, by ID

	// paths has where volumes of clones are, by name: as long as one is there it
	// stays where it is.
	paths sync.Map // string → string

	// sweeping is held while orphans are removed: two at once would call for one ID.
	sweeping sync.Mutex
	// looks are those of CheckHealth that are under way.
	looks singleflight.Group

	// Only a pass uses these.
	trimmed   time.Time // when what is kept was last looked at
	clockSeen uint64    // the state's revision when the host's clock was last looked at

	kept atomic.Int64
}

// restartsAtOnce bounds Plane.restarts.
const restartsAtOnce = 8

// New checks the configuration and makes a Plane; it touches nothing outside.
func New(cfg Config) (*Plane, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	view := cfg.Store.View()
	p := &Plane{
		cfg: cfg, store: cfg.Store, log: cfg.Log, metrics: cfg.Metrics,
		ports:      newPorts(cfg.Addr, cfg.PortFirst, cfg.PortLast),
		queue:      newQueue(),
		space:      newSpace(cfg.Driver, cfg.Now),
		wasEmpty:   view.Revision() == 0,
		restarts:   make(chan struct{}, restartsAtOnce),
		operations: map[string]*operation{},
		deadlines:  map[string]deadline{},
		holders:    map[string]int{},
		refreshing: map[string]bool{},
	}
	p.health.first = make(chan struct{})
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.owners = newOwners(p.ctx, cfg.Now, p.own)
	for c := range view.Clones() {
		// One that is deleted is not started again: should its instance still be
		// there, the port does not pass the probe.
		if c.Port != 0 && c.State != state.CloneDeleting {
			p.ports.hold(c.Port, c.ID)
		}
	}
	return p, nil
}

// complete fills in defaults and refuses what can't work.
func (cfg *Config) complete() error {
	switch {
	case cfg.Store == nil || cfg.Driver == nil || cfg.Runtime == nil:
		return errs.New(errs.Internal, "CONFIG", "control: a store, a driver and a runtime are needed")
	case len(cfg.Key) < 32:
		return errs.New(errs.Invalid, "CONFIG", "control: the key has %d bytes and needs 32", len(cfg.Key))
	case cfg.PortFirst < 1 || cfg.PortLast > 65535 || cfg.PortFirst > cfg.PortLast:
		return errs.Fieldf("ports", "%d to %d is no range of ports", cfg.PortFirst, cfg.PortLast)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NoMetrics{}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Clock.Since == nil {
		cfg.Clock = hostClock()
	}
	if cfg.ReconcileEvery == 0 {
		cfg.ReconcileEvery = DefaultReconcileEvery
	}
	if cfg.SweepLimit == 0 {
		cfg.SweepLimit = DefaultSweepLimit
	}
	return nil
}

// own is the work of owners: keys are those of cloneKey and snapshotKey.
func (p *Plane) own(ctx context.Context, key string) time.Time {
	if id, ok := strings.CutPrefix(key, cloneKey("")); ok {
		return p.ownClone(ctx, id)
	}
	p.ownSnapshot(ctx, strings.TrimPrefix(key, snapshotKey("")))
	return time.Time{}
}

func cloneKey(id string) string    { return "clone/" + id }
func snapshotKey(id string) string { return "snapshot/" + id }

// engine returns the engine of a golden.
func (p *Plane) engine(g state.Golden) (database.Engine, error) {
	e, ok := p.cfg.Engines[g.Engine]
	if !ok {
		return nil, errs.New(errs.Precondition, "ENGINE_UNKNOWN", "golden %s: there is no engine %q", g.Name, g.Engine)
	}
	return e, nil
}

// now is the present time. Times that are recorded lose its monotonic reading.
func (p *Plane) now() time.Time { return p.cfg.Now() }
