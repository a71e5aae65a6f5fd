package control

import (
	"context"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// A golden whose source is a clone: its snapshot is cloned from one of the
// clone, and prepared like any other.

// inherit fills in what a golden that is published from a clone has from the
// clone's golden, unless it was asked for otherwise.
func (p *Plane) inherit(who Caller, g *state.Golden, req CreateGoldenRequest) error {
	c, s, err := published(p.store.View(), who, g.Source)
	if err != nil {
		return err
	}
	from, _ := p.store.View().Golden(c.Golden)
	if req.Engine == "" && from.Engine != "" {
		g.Engine = from.Engine
	}
	o := &g.Options
	if o.Image == "" {
		o.Image = s.Image
	}
	if o.Database == "" {
		o.Database = from.Options.Database
	}
	if o.Settings == nil {
		o.Settings = from.Options.Settings
	}
	o.Durable = o.Durable || from.Options.Durable
	for _, limit := range []struct{ own, theirs *int64 }{
		{&o.MemoryBytes, &from.Options.MemoryBytes}, {&o.PIDs, &from.Options.PIDs}, {&o.ShmBytes, &from.Options.ShmBytes},
	} {
		if *limit.own == 0 {
			*limit.own = *limit.theirs
		}
	}
	if o.CPUs == 0 {
		o.CPUs = from.Options.CPUs
	}
	return nil
}

// published returns the clone that is to be published, and its snapshot; for its
// present state that which the clone came from.
func published(v *state.View, who Caller, src state.GoldenSource) (c state.Clone, s state.Snapshot, err error) {
	c, err = who.clone(v, src.Clone)
	switch {
	case err != nil:
		return c, s, err
	case src.Snapshot != "":
		s, err = inLineage(v, who, c, src.Snapshot)
		return c, s, err
	case c.Generation == 0 || c.State == state.CloneFailed:
		return c, s, errBusy(c)
	}
	s, ok := v.Snapshot(c.Snapshot)
	if !ok {
		return c, s, errs.New(errs.Precondition, "ORIGIN_UNKNOWN", "what clone %s came from is not known", c.Name)
	}
	return c, s, nil
}

// probeClone is probe for a clone: its data are known.
func (r *refreshRun) probeClone(ctx context.Context) error {
	_, s, err := published(r.p.store.View(), caller(ctx), r.golden.Source)
	if err != nil {
		return err
	}
	r.snapshot.Image, r.snapshot.ImageID, r.snapshot.Major, r.snapshot.DataDir = s.Image, s.ImageID, s.Major, s.DataDir
	if err := r.p.setUp(ctx, false); err != nil {
		return err
	}
	return r.p.room(ctx, 0)
}

// descend notes what the snapshot of a golden that is published from a clone
// descends from: a snapshot of the clone, which is asked for if need be.
func (r *refreshRun) descend(ctx context.Context, tx *state.Tx) error {
	if database.SourceKind(r.golden.Source.Kind) != database.SourceClone {
		return nil
	}
	c, s, err := published(&tx.View, caller(ctx), r.golden.Source)
	if err != nil {
		return err
	}
	if r.golden.Source.Snapshot == "" {
		if s, err = r.p.planSnapshot(tx, &c, newID()); err != nil {
			return err
		}
		s.For = r.snapshot.ID
		tx.PutSnapshot(&s)
	}
	r.snapshot.Parent = s.ID
	return nil
}

// fillFromClone makes the volume from the clone's snapshot, once that is taken.
func (r *refreshRun) fillFromClone(ctx context.Context, name string) (v storage.Volume, err error) {
	p, key := r.p, snapshotKey(r.snapshot.Parent)
	parent, _ := p.store.View().Snapshot(r.snapshot.Parent)
	if parent.For == r.snapshot.ID {
		done := p.waiters.add(key, untilTaken)
		p.tellTaken(parent.ID)
		p.owners.wake(cloneKey(parent.Clone))
		if err := p.wait(ctx, key, done); err != nil {
			return v, err
		}
	}
	parent, ok := p.store.View().Snapshot(r.snapshot.Parent)
	if !ok {
		return v, errSnapshot(r.snapshot.Parent)
	}
	return v, p.step(stepCloneVolume, func() (err error) {
		v, err = p.cfg.Driver.Clone(ctx, refOf(parent), name)
		return err
	})
}
