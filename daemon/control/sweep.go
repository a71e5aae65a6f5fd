package control

import (
	"context"
	"time"

	"github.com/cloned-db/cloned/state"
)

// sweep removes orphans that were orphans in the pass before too. If there are
// more than a few, it removes none: that many point to a fault in the records;
// nor after a backup of the state was put back, which does not know what was made
// after it. Then it is for the operator to decide (SweepOrphans).
func (p *Plane) sweep(ctx context.Context, orphans []Orphan, suspects map[Orphan]bool) (alarm bool) {
	if !p.store.View().Restored().IsZero() {
		return p.keepOrphans(orphans)
	}
	var sure []Orphan
	for _, o := range orphans {
		if suspects[o] {
			sure = append(sure, o)
		}
	}
	if len(sure) > p.cfg.SweepLimit {
		p.log.Error("too many orphans: none is swept", "orphans", len(sure), "limit", p.cfg.SweepLimit, "first", sure[0].String())
		return true
	}
	if !p.sweeping.TryLock() {
		return false // the operator's sweep is at it
	}
	defer p.sweeping.Unlock()
	for _, o := range sure {
		if err := p.sweepOne(ctx, o); err != nil {
			p.log.Warn("orphan stays", "orphan", o.String(), "error", err)
		}
	}
	return false
}

// keepOrphans sweeps none. Once there are none, the state knows all there is.
func (p *Plane) keepOrphans(orphans []Orphan) (alarm bool) {
	if len(orphans) > 0 {
		p.log.Warn("a backup of the state was put back: no orphan is swept", "orphans", len(orphans), "first", orphans[0].String())
		return true
	}
	err := p.step(stepCommitOutcome, func() error {
		return p.store.Update(func(tx *state.Tx) error {
			tx.SetRestored(time.Time{})
			return nil
		})
	})
	if err != nil {
		p.log.Warn("that the state knows all there is could not be written", "error", err) // the next pass does
	}
	return false
}

// sweepOne removes or destroys one orphan. p.sweeping is held.
func (p *Plane) sweepOne(ctx context.Context, o Orphan) error {
	kind, err := p.removeOrphan(ctx, o)
	p.metrics.Action(string(kind), result(err))
	if err == nil {
		p.log.Warn("orphan swept", "orphan", o.String(), "request", RequestID(ctx))
	}
	return err
}

func (p *Plane) removeOrphan(ctx context.Context, o Orphan) (Kind, error) {
	switch {
	case o.Instance != "":
		return SweepInstance, p.step(stepRemove, func() error { return p.cfg.Runtime.Remove(ctx, o.Instance) })
	case o.Volume != "":
		return SweepVolume, p.step(stepDestroyVolume, func() error { return p.cfg.Driver.Destroy(ctx, o.Volume) })
	default:
		return SweepSnapshot, p.step(stepDestroySnapshot, func() error { return p.cfg.Driver.DestroySnapshot(ctx, o.Snapshot) })
	}
}

// String names the orphan for people.
func (o Orphan) String() string {
	_, isTask := parseTask(o.Instance)
	switch {
	case isTask:
		return "task " + o.Instance
	case o.Instance != "":
		return "instance " + o.Instance
	case o.Volume != "":
		return "volume " + o.Volume
	default:
		return "snapshot " + o.Snapshot.Source.Volume + o.Snapshot.Source.Foreign + "@" + o.Snapshot.ID
	}
}
