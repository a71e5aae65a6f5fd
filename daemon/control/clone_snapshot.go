package control

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// SnapshotClone takes a snapshot of a clone's present state. The clone goes on;
// its connections wait for the moment in which nothing may write. A name that is
// taken is errs.Exists, unless that very snapshot is still being taken for the
// same request: created is then false.
func (p *Plane) SnapshotClone(ctx context.Context, req SnapshotRequest) (s state.Snapshot, created bool, err error) {
	if err := checkSnapshotRequest(req); err != nil {
		return state.Snapshot{}, false, err
	}
	if err := p.open(ctx); err != nil {
		return state.Snapshot{}, false, err
	}
	if err := p.room(ctx, 0); err != nil {
		return state.Snapshot{}, false, inPhase(PhaseAdmit, err)
	}
	began, id := p.now(), newID()
	done := p.waiters.add(snapshotKey(id), untilTaken)
	defer func() { p.waiters.drop(snapshotKey(id), done) }()
	var c state.Clone
	var written <-chan error
	err = p.step(stepCommitRequest, func() (err error) {
		// A daemon that dies before this is on disk has answered nobody, and what it
		// has taken is an orphan.
		written, err = p.store.UpdateSoon(func(tx *state.Tx) error {
			var err error
			if c, err = caller(ctx).toChange(&tx.View, req.Clone); err != nil {
				return err
			}
			if s, err = snapshotNamed(&tx.View, c, req); err != nil {
				return err
			}
			if s, err = p.planSnapshot(tx, &c, id); err != nil {
				return err
			}
			s.Name, s.Message, s.Author = req.Name, req.Message, req.Author
			tx.PutSnapshot(&s)
			return nil
		})
		return err
	})
	joined := errors.Is(err, errBeingTaken)
	switch {
	case joined:
		p.waiters.drop(snapshotKey(id), done)
		id = s.ID
		done = p.waiters.add(snapshotKey(id), untilTaken)
		p.tellTaken(id)
	case err != nil:
		return state.Snapshot{}, false, err
	}
	p.owners.wake(cloneKey(c.ID))
	if err := <-written; err != nil {
		return state.Snapshot{}, false, err
	}
	err = p.wait(ctx, snapshotKey(id), done)
	switch {
	case joined && errs.Is(err, errs.NotFound):
		return p.SnapshotClone(ctx, req) // it failed for the other request, and is gone: this one has its own
	case err != nil:
		return state.Snapshot{}, false, err
	}
	switch s, _ = p.store.View().Snapshot(id); s.State {
	case state.SnapshotReady:
	case state.SnapshotPreparing:
		return state.Snapshot{}, false, errs.New(errs.Unavailable, "STATE_WRITE", "the snapshot is taken, and that can't be written down yet")
	default:
		return state.Snapshot{}, false, errSnapshot(id) // deleted meanwhile
	}
	p.log.Info("snapshot taken", "clone", c.Name, "id", c.ID, "snapshot", id, "name", s.Name, "took", p.now().Sub(began), "request", RequestID(ctx))
	return s, !joined, nil
}

func checkSnapshotRequest(req SnapshotRequest) error {
	var name error
	if req.Name != "" {
		name = checkName("snapshot", req.Name)
	}
	for _, err := range []error{checkName("name", req.Clone), name, checkText("message", req.Message), checkText("author", req.Author)} {
		if err != nil {
			return err
		}
	}
	return nil
}

// errBeingTaken says that the same request is being served already.
var errBeingTaken = errors.New("the snapshot is being taken")

// snapshotNamed returns an error if a snapshot of the clone has the request's
// name: errBeingTaken, with it, if the same request is being served.
func snapshotNamed(v *state.View, c state.Clone, req SnapshotRequest) (state.Snapshot, error) {
	if req.Name == "" {
		return state.Snapshot{}, nil
	}
	for _, s := range v.CloneSnapshots(c.ID) {
		switch {
		case s.Name != req.Name || s.State == state.SnapshotDeleting:
		case s.State == state.SnapshotPreparing && s.Message == req.Message && s.Author == req.Author:
			return s, errBeingTaken
		default:
			return s, errs.New(errs.Exists, "SNAPSHOT_EXISTS", "clone %s has a snapshot %s, of %s", c.Name, req.Name, s.Created.Format("2006-01-02 15:04:05")).
				WithHint("choose another name, or delete that one: clonectl snapshot rm %s", s.ID)
		}
	}
	return state.Snapshot{}, nil
}

// planSnapshot asks the clone's owner for a snapshot of its present state. The
// caller completes the record and puts it.
func (p *Plane) planSnapshot(tx *state.Tx, c *state.Clone, id string) (state.Snapshot, error) {
	if c.Generation == 0 || c.State == state.CloneFailed {
		return state.Snapshot{}, errBusy(*c)
	}
	s, ok := tx.Snapshot(c.Snapshot)
	if !ok {
		return state.Snapshot{}, errs.New(errs.Precondition, "ORIGIN_UNKNOWN", "what clone %s came from is not known", c.Name)
	}
	// What it is follows from what it descends from; the rest is its own.
	s.ID, s.State, s.Created, s.Foreign = id, state.SnapshotPreparing, p.now().Round(0), ""
	s.Golden, s.Clone, s.Generation, s.Parent = c.Golden, c.ID, c.Generation, c.Snapshot
	s.Name, s.Message, s.Author, s.For, s.Defused, s.Warnings = "", "", "", "", nil, nil
	s.Failure, s.FailurePasses = "", false
	c.Taking = append(c.Taking, id)
	tx.PutClone(c)
	return s, nil
}

// untilTaken waits for a snapshot of a clone to be there.
func untilTaken(n news) (bool, error) {
	if n.clone == nil {
		return true, errs.New(errs.NotFound, "SNAPSHOT_NOT_FOUND", "the snapshot was deleted meanwhile")
	}
	return true, n.err
}

// tellTaken tells those who wait for a snapshot that is not being taken any more.
func (p *Plane) tellTaken(id string) {
	switch s, ok := p.store.View().Snapshot(id); {
	case !ok:
		p.waiters.tell(snapshotKey(id), news{})
	case s.State != state.SnapshotPreparing:
		p.waiters.tell(snapshotKey(id), news{clone: &state.Clone{}, err: failureOf(s)})
	}
}

// tellTakers tells those who wait for snapshots of the clone, and for forks of
// them, that it takes longer; and how it ended, of what is over all the same.
func (p *Plane) tellTakers(c state.Clone, err error) {
	view := p.store.View()
	now, _ := view.Clone(c.ID)
	for _, id := range c.Taking {
		s, _ := view.Snapshot(id)
		if !slices.Contains(now.Taking, id) {
			p.tellTaken(id)
			if s.For != "" {
				p.owners.wake(cloneKey(s.For))
			}
			continue
		}
		p.waiters.tell(snapshotKey(id), news{clone: &c, err: err})
		if fork, ok := view.Clone(s.For); ok {
			p.waiters.tell(cloneKey(fork.ID), news{clone: &fork, err: err})
		}
	}
}

// failureOf is why a snapshot could not be taken; nil if it could.
func failureOf(s state.Snapshot) error {
	if s.Failure == "" {
		return nil
	}
	kind := errs.Precondition
	if s.FailurePasses {
		kind = errs.Unavailable
	}
	return errs.New(kind, "SNAPSHOT_FAILED", "the snapshot could not be taken: %s", s.Failure)
}

// take takes the first of the snapshots that are asked of the clone, and notes what
// it has seen of the clone.
func (r *cloneRun) take(ctx context.Context, c state.Clone, known parts) error {
	p, id := r.p, c.Taking[0]
	clear(known)
	var running bool
	var tell func() error
	err := r.freeze(ctx, c, func() error {
		return p.step(stepSnapshot, func() error {
			_, err := p.cfg.Driver.Snapshot(ctx, storage.Own(cloneName(c.ID, c.Generation)), id)
			return err
		})
	}, func(answered bool, failed error) (err error) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		running = answered && failed == nil
		if failed != nil && p.isTaken(ctx, c, id) {
			failed = nil
		}
		tell, err = r.taken(c, id, failed)
		return err
	})
	if tell != nil { // even if the clone may still be frozen: this is written down
		err = errors.Join(err, tell())
	}
	if err != nil || !running {
		return err
	}
	if path, err := p.pathOf(ctx, cloneName(c.ID, c.Generation)); err == nil { // else it is looked at
		known[c.Generation] = part{volume: present, path: path, instance: present, running: true}
	}
	return nil
}

// isTaken says whether a snapshot is there although it could not be taken now: it was
// before, and whoever asked for it may have been told.
func (p *Plane) isTaken(ctx context.Context, c state.Clone, id string) bool {
	_, err := p.cfg.Driver.SnapshotUsage(ctx, storage.SnapshotRef{Source: storage.Own(cloneName(c.ID, c.Generation)), ID: id})
	return err == nil
}

// taken writes down that a snapshot has been taken, or why it can't be. It returns
// what tells those who wait for it, and then that it could not be written after all.
func (r *cloneRun) taken(c state.Clone, id string, failed error) (tell func() error, err error) {
	p := r.p
	// A daemon that dies before this is on disk finds it taken. A failure must not turn
	// into a success when it tries again.
	var written <-chan error
	update := func(fn func(*state.Tx) error) (err error) {
		written, err = p.store.UpdateSoon(fn)
		return err
	}
	if failed != nil {
		update = p.store.Update
	}
	var taken state.Snapshot
	err = p.step(stepCommitOutcome, func() error {
		return update(func(tx *state.Tx) error {
			now, ok := tx.Clone(c.ID)
			if !ok || !slices.Contains(now.Taking, id) {
				return errStale // it was deleted: what was taken is collected
			}
			now.Taking = slices.DeleteFunc(now.Taking, func(have string) bool { return have == id })
			tx.PutClone(&now)
			taken, ok = tx.Snapshot(id)
			if !ok {
				return nil
			}
			taken.State = state.SnapshotReady
			if failed != nil {
				taken.Failure, taken.FailurePasses = failed.Error(), errs.As(failed).Retryable
			}
			if failed != nil || taken.For != "" {
				taken.State = state.SnapshotDeleting
			}
			tx.PutSnapshot(&taken)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return func() error {
		if failed != nil {
			p.log.Warn("snapshot not taken", "clone", c.Name, "id", c.ID, "snapshot", id, "error", failed)
			p.owners.wake(snapshotKey(id))
		}
		p.waiters.tell(snapshotKey(id), news{clone: &c, err: failed})
		if taken.For != "" {
			p.owners.wake(cloneKey(taken.For))
		}
		if failed != nil {
			return nil
		}
		return <-written
	}, nil
}

// freeze calls do while nothing writes to the clone's volume, and then settle, with
// whether the database has answered and do's failure, while the clone is let go on.
// What the database has in memory is written before, so that what descends from the
// snapshot has little to recover. An error is settle's, or the clone may still be
// frozen.
func (r *cloneRun) freeze(ctx context.Context, c state.Clone, do func() error, settle func(ran bool, failed error) error) error {
	p, name := r.p, cloneName(c.ID, c.Generation)
	thaw := func(ctx context.Context) error {
		return p.step(stepThaw, func() error { return p.cfg.Runtime.Thaw(ctx, name) })
	}
	// A daemon that died may have left it frozen. What else became of it shows in
	// what fails: nobody waits for a look first.
	switch err := thaw(ctx); {
	case errs.Is(err, errs.NotFound):
		return settle(false, do())
	case err != nil:
		return err
	}
	ran := c.State == state.CloneReady
	if ran {
		if err := r.checkpoint(ctx, c); err != nil {
			if i, seen := p.inspect(ctx, name); seen == nil && i.State == container.Exited {
				return settle(false, do())
			}
			return settle(false, err)
		}
	}
	if p.cfg.Driver.Capabilities().Ordered {
		return settle(ran, do())
	}
	failed := p.step(stepFreeze, func() error { return p.cfg.Runtime.Freeze(ctx, name) })
	switch {
	case failed == nil:
		failed = do()
	case errs.As(failed).Reason == container.ReasonExited:
		return settle(false, do())
	}
	thawed := make(chan error, 1)
	go func() { thawed <- thaw(context.WithoutCancel(ctx)) }() // even if it was interrupted
	settled := settle(ran, failed)
	if err := <-thawed; err != nil { // first of all it has to go on
		return err
	}
	return settled
}

// checkpoint has a clone's instance write down what it has in memory.
func (r *cloneRun) checkpoint(ctx context.Context, c state.Clone) error {
	path, err := r.p.pathOf(ctx, cloneName(c.ID, c.Generation))
	if err != nil {
		return err
	}
	return r.p.step(stepCheckpoint, func() error {
		l, err := r.p.launch(c, c.Generation, path)
		if err != nil {
			return err
		}
		return l.engine.Checkpoint(ctx, l.target)
	})
}

// pathOf returns where a clone's volume is.
func (p *Plane) pathOf(ctx context.Context, volume string) (string, error) {
	if path, ok := p.paths.Load(volume); ok {
		return path.(string), nil
	}
	v, err := p.stat(ctx, volume)
	return v.Path, err
}

// stat looks at a clone's volume, and notes where it is.
func (p *Plane) stat(ctx context.Context, volume string) (v storage.Volume, err error) {
	err = p.step(stepStatVolume, func() (err error) {
		if v, err = p.cfg.Driver.Stat(ctx, volume); err == nil {
			p.paths.Store(volume, v.Path)
		}
		return err
	})
	return v, err
}

// inspect looks at an instance.
func (p *Plane) inspect(ctx context.Context, id string) (i container.Instance, err error) {
	err = p.step(stepInspect, func() (err error) {
		i, err = p.cfg.Runtime.Inspect(ctx, id)
		return err
	})
	return i, err
}

// doom writes that a clone is deleted: it is gone for users, and so are its
// snapshots. What descends from them lives on.
func doom(tx *state.Tx, c *state.Clone) {
	for _, s := range tx.CloneSnapshots(c.ID) {
		if s.State == state.SnapshotPreparing {
			giveUpSnapshot(tx, s, *c)
			continue
		}
		s.State = state.SnapshotDeleting
		tx.PutSnapshot(&s)
	}
	c.State, c.Taking = state.CloneDeleting, nil
	tx.PutClone(c)
}

// giveUpSnapshot writes that a snapshot is not taken, for its clone is deleted.
func giveUpSnapshot(tx *state.Tx, s state.Snapshot, c state.Clone) {
	s.State, s.Failure = state.SnapshotDeleting, fmt.Sprintf("clone %s was deleted", c.Name)
	tx.PutSnapshot(&s)
}

// wakeSnapshots has the snapshots of a clone collected that was deleted, and
// those told who wait for one.
func (p *Plane) wakeSnapshots(clone string) {
	for _, s := range p.store.View().CloneSnapshots(clone) {
		p.tellTaken(s.ID)
		p.owners.wake(snapshotKey(s.ID))
		if s.For != "" {
			p.owners.wake(cloneKey(s.For))
		}
	}
}
