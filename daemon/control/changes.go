package control

import (
	"cmp"
	"context"
	"slices"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// Changes says what was written to a clone since a snapshot of its lineage (the
// one that it came from for ""), by relation, the most first; and that
// snapshot's ID. It takes time in proportion to what changed. The clone has to
// run, for its catalogs know what its files are. errs.Precondition
// (NOT_SUPPORTED) if the storage driver does not know what changed.
func (p *Plane) Changes(ctx context.Context, name, since string) (string, []database.Relation, error) {
	differ, ok := p.cfg.Driver.(storage.Differ)
	if !ok {
		return "", nil, errs.New(errs.Precondition, "NOT_SUPPORTED", "storage %s does not know what changed", p.cfg.Driver.Name()).
			WithHint("keep clones on ZFS or btrfs")
	}
	if err := p.open(ctx); err != nil {
		return "", nil, err
	}
	c, from, until, err := p.stateNow(ctx, name, since)
	if until.ID != "" {
		defer p.letSnapshotGo(until.ID)
	}
	if err != nil {
		return "", nil, err
	}
	var changed []storage.FileChange
	err = p.step(stepCompare, func() (err error) {
		changed, err = differ.ChangedBetween(ctx, refOf(from), refOf(until))
		return err
	})
	if err != nil {
		return "", nil, err
	}
	files := make([]database.File, len(changed))
	for i, f := range changed {
		files[i] = database.File(f)
	}
	path, err := p.pathOf(ctx, cloneName(c.ID, c.Generation))
	if err != nil {
		return "", nil, err
	}
	l, err := p.launch(c, c.Generation, path)
	if err != nil {
		return "", nil, err
	}
	var relations []database.Relation
	err = p.step(stepRelations, func() (err error) {
		relations, err = l.engine.Relations(ctx, l.target, files)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	slices.SortFunc(relations, func(a, b database.Relation) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Database, b.Database), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
	})
	return from.ID, relations, nil
}

// stateNow takes a snapshot of a clone's present state that is not shown, and
// stays until letSnapshotGo; from is the one that it is to be compared with. What
// the database has in memory is in it.
func (p *Plane) stateNow(ctx context.Context, name, since string) (c state.Clone, from, until state.Snapshot, err error) {
	id := newID()
	key := snapshotKey(id)
	done := p.waiters.add(key, untilTaken)
	defer p.waiters.drop(key, done)
	p.setRefreshing(id, true)
	err = p.step(stepCommitRequest, func() error {
		return p.store.Update(func(tx *state.Tx) (err error) {
			who := caller(ctx)
			if c, err = who.toChange(&tx.View, name); err != nil {
				return err
			}
			if c.State != state.CloneReady {
				return errs.New(errs.Precondition, "NOT_READY", "clone %s is %s, and has to run to say what its files are", name, c.State).
					WithHint("clonectl resume %s", name)
			}
			ref := cmp.Or(since, c.Snapshot)
			if from, err = inLineage(&tx.View, who, c, ref); err != nil {
				return err
			}
			if until, err = p.planSnapshot(tx, &c, id); err != nil {
				return err
			}
			until.For = id // itself: nobody is to see it
			tx.PutSnapshot(&until)
			return nil
		})
	})
	if err != nil {
		p.setRefreshing(id, false)
		return c, from, state.Snapshot{}, err
	}
	p.owners.wake(cloneKey(c.ID))
	return c, from, until, p.wait(ctx, key, done)
}

// letSnapshotGo has a snapshot collected that stateNow has taken.
func (p *Plane) letSnapshotGo(id string) {
	p.setRefreshing(id, false)
	p.owners.wake(snapshotKey(id))
}
