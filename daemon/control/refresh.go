package control

import (
	"context"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// collectWait bounds how long a failed refresh waits for what it has left to be
// removed, before it answers.
const collectWait = time.Minute

// refreshRun is one refresh. It is the live owner of its snapshot's record: if
// it fails or dies, the record is still "preparing", and the snapshot's owner
// removes everything.
type refreshRun struct {
	p        *Plane
	golden   state.Golden
	engine   database.Engine
	snapshot state.Snapshot
	source   database.Source
	progress func(Progress)
	phase    string
}

// refresh makes a snapshot of a golden's source and publishes it. admit joins
// the transaction that writes the snapshot's first record. The refresh ends with
// ctx, and with the Plane.
func (p *Plane) refresh(ctx context.Context, g state.Golden, progress func(Progress), admit func(*state.Tx) error) (s state.Snapshot, err error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	engine, err := p.engine(g)
	if err != nil {
		return s, err
	}
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &refreshRun{p: p, golden: g, engine: engine, snapshot: newGoldenSnapshot(g), progress: progress}
	// On a goroutine of the owners, so that Run does not return before its end.
	if !p.owners.start(func() {
		defer close(ended)
		stop := context.AfterFunc(p.ctx, cancel)
		defer stop()
		began := p.now()
		s, err = r.run(ctx, admit)
		r.finish(RequestID(ctx), p.now().Sub(began), err)
	}) {
		return s, errStopping()
	}
	<-ended
	if err != nil {
		return state.Snapshot{}, err
	}
	progress(Progress{Phase: PhaseSnapshot, Message: "published", Snapshot: &s})
	return s, nil
}

func (r *refreshRun) run(ctx context.Context, admit func(*state.Tx) error) (state.Snapshot, error) {
	p, id := r.p, r.snapshot.ID
	// From the probe on: its task has no record yet, and is no orphan.
	p.setRefreshing(id, true)
	if err := r.during(PhaseProbe, func() error {
		return p.step(stepProbe, func() error { return r.probe(ctx) })
	}); err != nil {
		p.setRefreshing(id, false)
		return state.Snapshot{}, err
	}
	err := p.step(stepCommitRequest, func() error {
		return p.store.Update(func(tx *state.Tx) error {
			if err := admit(tx); err != nil {
				return err
			}
			if err := r.descend(ctx, tx); err != nil {
				return err
			}
			tx.PutSnapshot(&r.snapshot)
			return nil
		})
	})
	if err == nil {
		err = r.make(ctx)
	}
	p.setRefreshing(id, false)
	written, ok := p.store.View().Snapshot(id)
	switch {
	case err == nil, ok && written.State == state.SnapshotReady: // what is published stays
		return written, nil
	case ok:
		r.clean(ctx)
	}
	return state.Snapshot{}, err
}

// during runs a phase.
func (r *refreshRun) during(phase string, do func() error) error {
	r.phase = phase
	r.progress(Progress{Phase: phase})
	began := r.p.now()
	err := do()
	r.p.metrics.Phase(OpRefresh, phase, result(err), r.p.now().Sub(began))
	if err != nil {
		return inPhase(phase, err)
	}
	return nil
}

// probe finds out, before anything is made, whether source, image and space
// will do.
func (r *refreshRun) probe(ctx context.Context) (err error) {
	p, src := r.p, r.golden.Source
	password, err := readPassword(src.PasswordFile)
	if err != nil {
		return err
	}
	r.source = sourceOf(src, password)
	var facts database.Facts
	var size int64
	if r.source.Kind == database.SourceClone {
		return r.probeClone(ctx)
	}
	if r.source.Kind == database.SourceInPlace {
		dir, err := p.cfg.Driver.ForeignPath(ctx, src.Dataset)
		if err != nil {
			return err
		}
		if facts, err = r.engine.Inspect(ctx, dir, src.DataDir); err != nil {
			return err
		}
	} else if facts, size, err = r.engine.Probe(ctx, r.source); err != nil {
		return err
	}
	image := r.golden.Options.Image
	if image == "" {
		image = r.engine.DefaultImage(p.cfg.Runtime.Name(), facts.Major)
	}
	r.snapshot.Image, r.snapshot.Major = image, facts.Major
	if r.snapshot.ImageID, err = p.cfg.Runtime.EnsureImage(ctx, image); err != nil {
		return err
	}
	if err := r.engine.CheckImage(ctx, p.cfg.Runtime, taskPrefix(r.snapshot.ID)+"-image", r.snapshot.ImageID, facts.Major); err != nil {
		return err
	}
	if err := p.setUp(ctx, false); err != nil {
		return err
	}
	if _, err := p.space.refresh(ctx); err != nil {
		return err
	}
	return p.room(ctx, size)
}

// make fills, prepares and publishes.
func (r *refreshRun) make(ctx context.Context) error {
	p, id := r.p, r.snapshot.ID
	var volume storage.Volume
	err := r.during(PhaseFill, func() (err error) {
		volume, err = r.fill(ctx)
		return err
	})
	if err != nil {
		return err
	}
	var facts database.Facts
	var prepared database.Prepared
	err = r.during(PhasePrepare, func() (err error) {
		facts, prepared, err = r.prepare(ctx, volume)
		return err
	})
	if err != nil {
		return err
	}
	describe(&r.snapshot, facts, prepared)
	return r.during(PhaseSnapshot, func() error {
		err := p.step(stepSnapshot, func() error {
			_, err := p.cfg.Driver.Snapshot(ctx, storage.Own(goldenVolume(id)), readyID)
			return err
		})
		if err != nil {
			return err
		}
		return r.publish()
	})
}

// fill makes the volume with the source's data.
func (r *refreshRun) fill(ctx context.Context) (v storage.Volume, err error) {
	p, s := r.p, r.snapshot
	name := goldenVolume(s.ID)
	if s.Foreign != "" {
		err := p.step(stepForeignSnapshot, func() error {
			_, err := p.cfg.Driver.Snapshot(ctx, foreignRef(s).Source, s.ID)
			return err
		})
		if err != nil {
			return v, err
		}
		err = p.step(stepCloneVolume, func() (err error) {
			v, err = p.cfg.Driver.Clone(ctx, foreignRef(s), name)
			return err
		})
		return v, err
	}
	if s.Parent != "" {
		return r.fillFromClone(ctx, name)
	}
	err = p.step(stepCreateVolume, func() (err error) {
		v, err = p.cfg.Driver.Create(ctx, name)
		return err
	})
	if err != nil {
		return v, err
	}
	return v, p.step(stepFill, func() error {
		return r.engine.Fill(ctx, p.cfg.Runtime, database.FillRequest{Volume: r.volume(v), Source: r.source, Progress: r.report})
	})
}

func (r *refreshRun) prepare(ctx context.Context, v storage.Volume) (f database.Facts, d database.Prepared, err error) {
	p := r.p
	err = p.step(stepFacts, func() (err error) {
		f, err = r.engine.Inspect(ctx, v.Path, r.snapshot.DataDir)
		return err
	})
	if err != nil {
		return f, d, err
	}
	if f.Major != r.snapshot.Major {
		return f, d, errs.New(errs.Precondition, database.ReasonVersion,
			"the data that came has version %d, and the source said %d", f.Major, r.snapshot.Major)
	}
	o := r.golden.Options
	err = p.step(stepPrepare, func() (err error) {
		d, err = r.engine.Prepare(ctx, p.cfg.Runtime, database.PrepareRequest{
			Volume: r.volume(v), Facts: f, Vacuum: o.Vacuum, Settings: o.Settings, Progress: r.report,
		})
		return err
	})
	return f, d, err
}

func (r *refreshRun) volume(v storage.Volume) database.Volume {
	return database.Volume{
		TaskID: taskPrefix(r.snapshot.ID), Path: v.Path, DataDir: r.snapshot.DataDir,
		Image: r.snapshot.ImageID, Limits: container.Limits{},
	}
}

// report passes the engine's progress on.
func (r *refreshRun) report(e database.Progress) {
	message := e.Message
	if message == "" && e.Phase != r.phase {
		message = e.Phase
	}
	r.progress(Progress{Phase: r.phase, Message: message, Done: e.Done, Total: e.Total})
}

// publish makes the snapshot one that can be cloned, and the newest.
func (r *refreshRun) publish() error {
	return r.p.step(stepCommitOutcome, func() error {
		return r.p.store.Update(func(tx *state.Tx) error {
			g, ok := tx.Golden(r.golden.Name)
			if !ok {
				return errGolden(r.golden.Name)
			}
			s := r.snapshot
			s.State, s.Created = state.SnapshotReady, r.p.now().Round(0)
			// The newest stays the newest even if the clock was set back.
			for _, other := range readySnapshots(&tx.View, g.Name) {
				if !other.Created.Before(s.Created) {
					s.Created = other.Created.Add(time.Microsecond)
				}
			}
			tx.PutSnapshot(&s)
			g.Published = true
			tx.PutGolden(&g)
			return nil
		})
	})
}

// clean has what a failed refresh has left removed, and waits for that, so that
// whoever asked finds everything as before. It goes on if they do not wait.
func (r *refreshRun) clean(ctx context.Context) {
	p, key := r.p, snapshotKey(r.snapshot.ID)
	done := p.waiters.add(key, untilGone)
	p.owners.wake(key)
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), collectWait)
	defer cancel()
	if err := p.wait(wait, key, done); err != nil {
		p.log.Warn("what a failed refresh left is removed later", "golden", r.golden.Name, "snapshot", r.snapshot.ID, "error", err)
	}
}

func (r *refreshRun) finish(request string, took time.Duration, err error) {
	r.p.metrics.Operation(OpRefresh, result(err), took)
	args := []any{"golden", r.golden.Name, "snapshot", r.snapshot.ID, "took", took, "request", request}
	if err != nil {
		e := errs.As(err)
		r.p.log.Warn("refresh failed", append(args, "phase", e.Phase, "reason", e.Reason, "error", err)...)
		return
	}
	r.p.log.Info("golden refreshed", args...)
}
