package control

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// Run makes a first pass and then keeps what is there like what is wanted, until
// ctx ends; it returns when all its goroutines have ended. It refuses with
// errs.Precondition (STATE_MISSING) if the state has never held anything and
// volumes or instances of ours are there. A Plane runs once.
func (p *Plane) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		p.cancel()
		p.owners.close()
	}()
	events := p.cfg.Runtime.Events(ctx)
	p.owners.start(func() {
		for e := range events {
			if id, g, isClone := parseCloneName(e.ID); isClone {
				p.happened(id, g)
			}
		}
	})
	p.owners.start(func() { p.queue.run(ctx, p.store) })
	ticker := time.NewTicker(p.cfg.ReconcileEvery)
	defer ticker.Stop()
	suspects := map[Orphan]bool{}
	for {
		var err error
		if suspects, err = p.pass(ctx, suspects); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// happened has the owner look if something happened to the instance that is
// wanted of a clone.
func (p *Plane) happened(id string, g int64) {
	if c, ok := p.store.View().Clone(id); ok && c.State == state.CloneReady && c.Generation == g {
		p.owners.wake(cloneKey(id))
	}
}

// pass looks at everything once, wakes the owners of what is not as wanted, and
// sweeps what was an orphan in the pass before too. What can't be seen is not
// there to be judged: a pass whose look fails does nothing. It returns the
// orphans it has found, and an error only if the Plane must not go on.
func (p *Plane) pass(ctx context.Context, suspects map[Orphan]bool) (map[Orphan]bool, error) {
	began := p.now()
	if err := p.followClock(p.clockSeen); err != nil {
		p.log.Warn("the host's clock is not followed", "error", err)
	}
	p.clockSeen = p.store.View().Revision()
	defer p.health.once.Do(func() { close(p.health.first) })
	observed, err := p.observe(ctx)
	if err == nil && p.wasEmpty && p.store.View().Revision() == 0 {
		if err := missing(observed); err != nil {
			p.noteFailure(err)
			return nil, err
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil
		}
		p.noteFailure(err)
		p.log.Warn("reconciliation failed: nothing is done in this pass", "error", err)
		p.metrics.Reconcile(result(err), p.now().Sub(began))
		return nil, nil
	}
	want := p.want()
	var orphans []Orphan
	for _, a := range Plan(want, observed, p.now()) {
		switch a.Kind {
		case Wait:
			p.owners.wakeAt(cloneKey(a.Clone), a.At)
		case Collect:
			p.owners.wakeIdle(snapshotKey(a.Snapshot))
		case SweepInstance, SweepVolume, SweepSnapshot:
			orphans = append(orphans, a.Orphan)
		default:
			p.owners.wakeIdle(cloneKey(a.Clone))
		}
	}
	p.wakeDeleted(want.Clones)
	p.trimKept(ctx)
	alarm := p.sweep(ctx, orphans, suspects)
	p.noteSuccess(p.poolHealth(ctx), want, observed, len(orphans), alarm)
	p.metrics.Orphans(len(orphans), alarm)
	p.metrics.Reconcile(ResultOK, p.now().Sub(began))
	suspects = make(map[Orphan]bool, len(orphans))
	for _, o := range orphans {
		suspects[o] = true
	}
	return suspects, nil
}

// wakeDeleted has the owners of deleted clones look that still have their port:
// nothing else may be left to do about those that stay for others, or to be
// brought back.
func (p *Plane) wakeDeleted(clones []state.Clone) {
	for _, c := range clones {
		if c.State == state.CloneDeleting && p.ports.has(c.Port, c.ID) {
			p.owners.wakeIdle(cloneKey(c.ID))
		}
	}
}

// observeTimeout bounds how long a hanging backend keeps a pass from failing.
const observeTimeout = 2 * time.Minute

// observe looks at everything, after mending what instances share.
func (p *Plane) observe(ctx context.Context) (observed Observed, err error) {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	err = p.step(stepObserve, func() (err error) {
		observed, err = p.lookAround(ctx)
		return err
	})
	return observed, err
}

func (p *Plane) lookAround(ctx context.Context) (Observed, error) {
	if err := p.setUp(ctx, true); err != nil {
		return Observed{}, fmt.Errorf("runtime %s: %w", p.cfg.Runtime.Name(), err)
	}
	observed, err := p.list(ctx)
	if err != nil {
		return Observed{}, err
	}
	if _, err = p.space.refresh(ctx); err != nil {
		return Observed{}, fmt.Errorf("storage %s: %w", p.cfg.Driver.Name(), err)
	}
	return observed, nil
}

// list looks at everything and changes nothing.
func (p *Plane) list(ctx context.Context) (observed Observed, err error) {
	observed.Since = p.store.View().Revision()
	if observed.Inventory, err = p.listVolumes(ctx); err != nil {
		return Observed{}, err
	}
	observed.Instances, err = p.listInstances(ctx)
	return observed, err
}

func (p *Plane) listVolumes(ctx context.Context) (storage.Inventory, error) {
	inventory, err := p.cfg.Driver.List(ctx, foreignDatasets(p.store.View()))
	if err != nil {
		return storage.Inventory{}, fmt.Errorf("storage %s: %w", p.cfg.Driver.Name(), err)
	}
	return inventory, nil
}

func (p *Plane) listInstances(ctx context.Context) ([]container.Instance, error) {
	instances, err := p.cfg.Runtime.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("runtime %s: %w", p.cfg.Runtime.Name(), err)
	}
	return instances, nil
}

// foreignDatasets are those in which snapshots of ours may be.
func foreignDatasets(v *state.View) []string {
	seen := map[string]bool{}
	var out []string
	add := func(dataset string) {
		if dataset != "" && !seen[dataset] {
			seen[dataset] = true
			out = append(out, dataset)
		}
	}
	for _, g := range v.Goldens() {
		add(g.Source.Dataset)
	}
	for _, s := range v.Snapshots("") {
		add(s.Foreign)
	}
	return out
}

// want reads the records.
func (p *Plane) want() Want {
	view := p.store.View()
	w := Want{Snapshots: view.Snapshots(""), Live: map[string]bool{}}
	for c := range view.Clones() {
		w.Clones = append(w.Clones, p.byClock(c))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.deadlines, func(key string, _ deadline) bool {
		id, _, _ := strings.Cut(key, "/")
		_, there := view.Clone(id)
		return !there
	})
	for id := range p.refreshing {
		w.Live[id] = true
	}
	return w
}

// missing refuses a state that knows nothing of what is there. Tasks do not
// count: the first refresh may just have started one, and what a task works on
// is a volume.
func missing(o Observed) error {
	instances := 0
	for _, i := range o.Instances {
		if !i.Task {
			instances++
		}
	}
	if len(o.Inventory.Volumes)+len(o.Inventory.Snapshots)+instances == 0 {
		return nil
	}
	return errs.New(errs.Precondition, "STATE_MISSING",
		"the state is empty, but %d volumes, %d snapshots and %d instances of this installation are there",
		len(o.Inventory.Volumes), len(o.Inventory.Snapshots), instances).
		WithHint("put the state file back, or start with --adopt to rebuild what can be rebuilt")
}

func (p *Plane) noteFailure(err error) {
	p.health.mu.Lock()
	defer p.health.mu.Unlock()
	p.health.err = err
}

// poolHealth is what the driver says of its pool: "" for nothing worth telling.
func (p *Plane) poolHealth(ctx context.Context) string {
	reporter, ok := p.cfg.Driver.(storage.HealthReporter)
	if !ok {
		return ""
	}
	health, err := reporter.Health(ctx)
	switch {
	case err != nil:
		return err.Error()
	case health == storage.Online:
		return ""
	}
	return health
}

func (p *Plane) noteSuccess(pool string, want Want, observed Observed, orphans int, alarm bool) {
	p.health.mu.Lock()
	defer p.health.mu.Unlock()
	h := &p.health
	h.observed, h.err, h.last, h.seen = true, nil, p.now(), observed.Since
	h.orphans, h.alarm, h.pool = orphans, alarm, pool
	h.strangers, h.lost = strangers(want, observed), lostSnapshots(want, observed)
}
