package control

import (
	"context"
	"slices"
	"strings"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// ListSnapshots returns a golden's snapshots that can be cloned, newest first;
// those of all goldens for "".
func (p *Plane) ListSnapshots(ctx context.Context, golden string) ([]state.Snapshot, error) {
	view, who := p.store.View(), caller(ctx)
	if golden != "" {
		if _, err := who.golden(view, golden); err != nil {
			return nil, err
		}
	}
	hidden := func(s state.Snapshot) bool { return !who.seesSnapshot(view, s) }
	return slices.DeleteFunc(readySnapshots(view, golden), hidden), nil
}

func readySnapshots(v *state.View, golden string) []state.Snapshot {
	var out []state.Snapshot
	for _, s := range v.Snapshots(golden) {
		if s.State == state.SnapshotReady && s.Clone == "" {
			out = append(out, s)
		}
	}
	return out
}

// DeleteSnapshot hides a snapshot at once; its clones live on, and can be reset
// to it, and its space is freed when the last of them has gone. The last
// snapshot of a golden is errs.Precondition (LAST_SNAPSHOT): a golden without
// one is of no use, and can be deleted itself. That of a golden is errs.Denied to
// who may only change own clones.
func (p *Plane) DeleteSnapshot(ctx context.Context, id string) error {
	err := p.step(stepCommitRequest, func() error {
		return p.store.Update(func(tx *state.Tx) error {
			s, ok := tx.Snapshot(id)
			who := caller(ctx)
			of, _ := tx.Clone(s.Clone)
			switch {
			case !ok || s.State == state.SnapshotDeleting || !who.seesSnapshot(&tx.View, s):
				return errSnapshot(id)
			case !who.changes(of):
				return errs.New(errs.Denied, "NOT_YOURS", "snapshot %s is not of a clone of yours", id).
					WithHint("ask an operator")
			case s.State == state.SnapshotPreparing:
				return errs.New(errs.Conflict, "NOT_PREPARED", "snapshot %s is still being made", id).
					WithHint("wait until it is there, or cancel the refresh")
			case s.Clone == "" && len(readySnapshots(&tx.View, s.Golden)) == 1:
				return errs.New(errs.Precondition, "LAST_SNAPSHOT", "snapshot %s is the last one of golden %s", id, s.Golden).
					WithHint("refresh the golden first, or delete the golden")
			}
			s.State = state.SnapshotDeleting
			tx.PutSnapshot(&s)
			return nil
		})
	})
	if err != nil {
		return err
	}
	p.log.Info("snapshot is deleted", "snapshot", id, "request", RequestID(ctx))
	p.owners.wake(snapshotKey(id))
	return nil
}

// SnapshotUsage says what a snapshot takes: one of a golden with its volume.
func (p *Plane) SnapshotUsage(ctx context.Context, id string) (storage.Usage, error) {
	view := p.store.View()
	s, ok := view.Snapshot(id)
	if !ok || s.State == state.SnapshotDeleting || !caller(ctx).seesSnapshot(view, s) {
		return storage.Usage{}, errSnapshot(id)
	}
	return p.snapshotUsage(ctx, s)
}

func (p *Plane) snapshotUsage(ctx context.Context, s state.Snapshot) (storage.Usage, error) {
	if s.Clone == "" {
		return p.cfg.Driver.Usage(ctx, goldenVolume(s.ID))
	}
	return p.cfg.Driver.SnapshotUsage(ctx, refOf(s))
}

// ownSnapshot collects a snapshot that nobody wants any more: one that was
// deleted, and one whose refresh failed, was cancelled or died.
func (p *Plane) ownSnapshot(ctx context.Context, id string) {
	view := p.store.View()
	s, ok := view.Snapshot(id)
	if !ok || !collectable(s, p.isRefreshing(id) || isTaking(view, s), isUsed(view, s)) {
		return
	}
	if err := failureOf(s); err != nil { // whoever waits for it is to know why, and not only that it is gone
		p.waiters.tell(snapshotKey(id), news{clone: &state.Clone{}, err: err})
	}
	err := p.collect(ctx, s)
	p.metrics.Action(string(Collect), result(err))
	switch {
	case ctx.Err() != nil:
	case err != nil:
		if !hasDependents(err) { // else it goes with the last descendant
			p.log.Warn("snapshot waits to be collected", "snapshot", id, "golden", s.Golden, "error", err)
		}
		p.waiters.tell(snapshotKey(id), news{clone: &state.Clone{}, err: err})
	default:
		p.log.Info("snapshot collected", "snapshot", id, "golden", s.Golden)
		p.waiters.tell(snapshotKey(id), news{})
	}
}

// collect removes all there can be of a snapshot, from the top down, and then
// its record. Each step succeeds when there is nothing to do.
func (p *Plane) collect(ctx context.Context, s state.Snapshot) error {
	if s.Clone != "" {
		return p.collectState(ctx, s)
	}
	if err := p.removeTasks(ctx, s.ID); err != nil {
		return err
	}
	err := p.step(stepDestroySnapshot, func() error { return p.cfg.Driver.DestroySnapshot(ctx, readyRef(s.ID)) })
	if err != nil {
		return err
	}
	err = p.step(stepDestroyVolume, func() error { return p.cfg.Driver.Destroy(ctx, goldenVolume(s.ID)) })
	if err != nil {
		return err
	}
	if s.Foreign != "" {
		err := p.step(stepForeignDestroy, func() error { return p.cfg.Driver.DestroySnapshot(ctx, foreignRef(s)) })
		if err != nil {
			return err
		}
	}
	err = p.step(stepCommitOutcome, func() error {
		return p.store.Update(func(tx *state.Tx) error {
			tx.DropSnapshot(s.ID)
			if g, ok := tx.Golden(s.Golden); ok && !g.Published && len(tx.Snapshots(s.Golden)) == 0 {
				tx.DropGolden(g.Name)
			}
			return nil
		})
	})
	if err == nil && s.Parent != "" {
		p.owners.wake(snapshotKey(s.Parent))
	}
	return err
}

// collectState is collect for a snapshot of a clone.
func (p *Plane) collectState(ctx context.Context, s state.Snapshot) error {
	err := p.step(stepDestroySnapshot, func() error { return p.cfg.Driver.DestroySnapshot(ctx, refOf(s)) })
	if err != nil {
		return err
	}
	err = p.step(stepCommitOutcome, func() error {
		return p.store.Update(func(tx *state.Tx) error {
			tx.DropSnapshot(s.ID)
			return nil
		})
	})
	if err == nil {
		p.owners.wake(cloneKey(s.Clone)) // it may have kept a generation
	}
	return err
}

// isTaking says whether a snapshot of a clone is still to be taken.
func isTaking(v *state.View, s state.Snapshot) bool {
	c, _ := v.Clone(s.Clone)
	return slices.Contains(c.Taking, s.ID)
}

// removeTasks ends what a refresh that died has left running on its volume.
func (p *Plane) removeTasks(ctx context.Context, id string) error {
	var all []container.Instance
	err := p.step(stepListTasks, func() (err error) {
		all, err = p.cfg.Runtime.List(ctx)
		return err
	})
	if err != nil {
		return err
	}
	for _, i := range all {
		if !strings.HasPrefix(i.ID, taskPrefix(id)) {
			continue
		}
		if err := p.step(stepRemoveTask, func() error { return p.cfg.Runtime.Remove(ctx, i.ID) }); err != nil {
			return err
		}
	}
	return nil
}

// isUsed says whether a clone or a golden's snapshot came from the snapshot, or
// is about to.
func isUsed(v *state.View, s state.Snapshot) bool {
	for c := range v.Clones() {
		if slices.Contains(origins(c), s.ID) {
			return true
		}
	}
	if s.For == "" && s.Clone == "" {
		return false // only states of clones are published
	}
	return slices.ContainsFunc(v.Snapshots(""), func(g state.Snapshot) bool { return g.Clone == "" && g.Parent == s.ID })
}

// origins are the snapshots that the generations of a clone came from, or are
// about to.
func origins(c state.Clone) []string {
	ids := []string{c.Snapshot, c.NextSnapshot}
	for _, k := range c.Kept {
		ids = append(ids, k.Snapshot)
	}
	return ids
}

func (p *Plane) isRefreshing(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refreshing[id]
}

func (p *Plane) setRefreshing(id string, is bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if is {
		p.refreshing[id] = true
	} else {
		delete(p.refreshing, id)
	}
}
