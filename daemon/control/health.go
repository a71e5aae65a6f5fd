package control

import (
	"context"
	"sync"
	"time"

	"github.com/cloned-db/cloned/errs"
)

// health is what the passes have found out, for Status and for requests that
// have to wait for the first of them.
type health struct {
	first chan struct{} // closed after the first pass
	once  sync.Once

	// setup serialises the runtime's Setup.
	setup sync.Mutex

	mu        sync.Mutex
	observed  bool  // a pass has seen everything
	isSetUp   bool  // the runtime's surroundings were whole when last looked at
	err       error // of the last pass
	last      time.Time
	seen      uint64 // the state's revision before the last pass observed
	orphans   int
	alarm     bool   // there were too many orphans to sweep
	pool      string // what is wrong with the pool
	strangers []string
	lost      []string // ready snapshots without their volume
}

// open returns when requests may change the world: after the first pass, which
// mends what requests build upon. If the state was found empty, it waits for a
// pass that has seen that nothing of ours is there.
func (p *Plane) open(ctx context.Context) error {
	select {
	case <-p.health.first:
	case <-ctx.Done():
		return errs.New(errs.Unavailable, "STARTING", "the daemon is still looking at what is there: %w", ctx.Err())
	case <-p.ctx.Done():
		return errStopping()
	}
	p.health.mu.Lock()
	defer p.health.mu.Unlock()
	if p.wasEmpty && !p.health.observed {
		return errs.New(errs.Unavailable, "STARTING", "the daemon could not yet look at what is there: %w", p.health.err)
	}
	return nil
}

// setUp sees to it that the runtime's surroundings are whole; always looks even
// if they were.
func (p *Plane) setUp(ctx context.Context, always bool) error {
	p.health.mu.Lock()
	done := p.health.isSetUp
	p.health.mu.Unlock()
	if done && !always {
		return nil
	}
	p.health.setup.Lock()
	defer p.health.setup.Unlock()
	err := p.cfg.Runtime.Setup(ctx)
	p.health.mu.Lock()
	defer p.health.mu.Unlock()
	p.health.isSetUp = err == nil
	return err
}
