package control

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

const (
	// readyTimeout bounds one wait for a database to answer. Recovery after a
	// crash may take longer: the wait is then repeated.
	readyTimeout = 2 * time.Minute
	// suspendGrace is for a database to shut down cleanly before it is killed.
	suspendGrace = time.Minute
	// resetGrace is shorter, for what is stopped is thrown away, unless the reset
	// fails: then it may have to recover.
	resetGrace = 10 * time.Second
)

// apply does one action and notes in known what it has changed.
func (r *cloneRun) apply(ctx context.Context, c state.Clone, known parts, a Action) error {
	p, part := r.p, known[a.Generation]
	if phase := phaseOf(a.Kind); phase != "" {
		began := p.now()
		err := r.act(ctx, c, &part, a)
		p.lap(c.ID, phase, began, err)
		if err == nil {
			known[a.Generation] = part
		}
		return err
	}
	switch a.Kind {
	case ThawInstance:
		err := p.step(stepThaw, func() error { return p.cfg.Runtime.Thaw(ctx, cloneName(c.ID, a.Generation)) })
		if err == nil {
			part.frozen = false
			known[a.Generation] = part
		}
		return err
	case Settle:
		return r.settle(c)
	case Switch:
		return r.switchOver(c)
	case TakeSnapshot:
		return r.take(ctx, c, known)
	case MarkCrash:
		return r.markCrash(c, part)
	case MarkLost:
		return r.markLost(c)
	case Expire:
		return r.expire(c)
	case SettleKept:
		return r.settleKept(c, a.Generation)
	case ForgetKept:
		return r.forgetKept(c, a.Generation)
	case DropTrash:
		return r.dropTrash(c, a.Generation)
	case Forget:
		return r.forget(c)
	}
	return errs.New(errs.Internal, "PLAN", "clone %s: no way to apply %q", c.ID, a.Kind)
}

// act does one thing outside.
func (r *cloneRun) act(ctx context.Context, c state.Clone, now *part, a Action) error {
	p, name := r.p, cloneName(c.ID, a.Generation)
	switch a.Kind {
	case MakeVolume:
		return p.step(stepCloneVolume, func() error {
			s, ok := p.store.View().Snapshot(c.NextSnapshot)
			if !ok {
				return errSnapshot(c.NextSnapshot)
			}
			if err := failureOf(s); err != nil {
				return err
			}
			if c.IsKept(a.Generation) {
				v, err := p.cfg.Driver.Stat(ctx, name)
				now.volume, now.path = present, v.Path
				return err
			}
			v, err := p.cloneVolume(ctx, c, s, name)
			now.volume, now.path = present, v.Path
			if err == nil {
				p.paths.Store(name, v.Path)
			}
			return err
		})
	case StartInstance:
		now.instance, now.running, now.fresh, now.answered = present, true, true, false
		return r.start(ctx, c, a.Generation, now.path)
	case AwaitReady:
		now.answered = true
		return r.awaitReady(ctx, c, a.Generation, now.path)
	case Claim:
		now.claimed = true
		return p.step(stepClaim, func() error {
			l, err := p.launch(c, a.Generation, now.path)
			if err != nil {
				return err
			}
			return l.engine.Claim(ctx, l.target)
		})
	case StopInstance:
		now.instance, now.running = present, false
		return p.step(stepStop, func() error { return p.stop(ctx, c, name) })
	case RemoveInstance:
		now.instance, now.running, now.fresh = absent, false, false
		return p.step(stepRemove, func() error { return p.cfg.Runtime.Remove(ctx, name) })
	default: // DestroyVolume
		now.volume = absent
		p.paths.Delete(name)
		err := p.step(stepDestroyVolume, func() error { return p.cfg.Driver.Destroy(ctx, name) })
		if hasDependents(err) {
			now.volume, now.kept, err = present, true, nil
		} else if err == nil && c.State == state.CloneDeleting {
			p.wakeSnapshots(c.ID) // it may have come from one of them
		}
		return err
	}
}

func (p *Plane) stop(ctx context.Context, c state.Clone, name string) error {
	grace := suspendGrace
	if c.Next != 0 {
		grace = resetGrace
	}
	err := p.cfg.Runtime.Stop(ctx, name, grace)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}

// start starts an instance, once the runtime's surroundings are sure to be
// whole: without its network a clone might reach production.
func (r *cloneRun) start(ctx context.Context, c state.Clone, g int64, path string) error {
	if c.Next == 0 && !r.slot {
		select {
		case r.p.restarts <- struct{}{}:
			r.slot = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return r.p.step(stepStart, func() error {
		if err := r.p.setUp(ctx, false); err != nil {
			return err
		}
		l, err := r.p.launch(c, g, path)
		if err != nil {
			return err
		}
		var reading sync.WaitGroup
		reading.Go(func() { l.engine.ReadAhead(l.target) })
		defer reading.Wait()
		err = r.p.cfg.Runtime.Start(ctx, l.engine.Spec(l.request))
		if err != nil && errs.As(err).Reason == container.ReasonImageMissing {
			if err = r.p.fetchImage(ctx, l.snapshot, err); err == nil {
				err = r.p.cfg.Runtime.Start(ctx, l.engine.Spec(l.request))
			}
		}
		return err
	})
}

// fetchImage gets the image back that a snapshot was prepared with, if its name
// still stands for it: a clone runs with that very one or not at all.
func (p *Plane) fetchImage(ctx context.Context, s state.Snapshot, missing error) error {
	id, err := p.cfg.Runtime.EnsureImage(ctx, s.Image)
	switch {
	case err == nil && id == s.ImageID:
		return nil
	case errs.Is(err, errs.Unavailable):
		return err
	case err == nil:
		err = missing
	}
	return errs.New(errs.Precondition, container.ReasonImageMissing, "image %s (%s), which snapshot %s was prepared with, is not on this host any more: %w", s.Image, s.ImageID, s.ID, err).
		WithHint("get that very image back (docker load), or refresh golden %s and use its new snapshot", s.Golden)
}

func (r *cloneRun) awaitReady(ctx context.Context, c state.Clone, g int64, path string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return r.p.step(stepReady, func() error {
		l, err := r.p.launch(c, g, path)
		if err != nil {
			return err
		}
		if c.Claimed == g {
			l.target.Password = "" // it has its own
		}
		var refused error
		err = r.p.cfg.Runtime.WaitReady(ctx, l.request.ID, func(ctx context.Context) error {
			err := l.engine.Ready(ctx, l.target)
			if err != nil && !errs.Is(err, errs.Unavailable) {
				refused, err = err, nil
			}
			return err
		})
		return cmp.Or(err, refused)
	})
}

// launch is what an engine needs to know about a generation of a clone.
type launch struct {
	engine   database.Engine
	request  database.StartRequest
	target   database.Target
	snapshot state.Snapshot
}

func (p *Plane) launch(c state.Clone, g int64, path string) (launch, error) {
	view := p.store.View()
	snapshotID := c.Snapshot
	if g == c.Next {
		snapshotID = c.NextSnapshot
	}
	golden, okGolden := view.Golden(c.Golden)
	snapshot, okSnapshot := view.Snapshot(snapshotID)
	if !okGolden || !okSnapshot {
		return launch{}, errs.New(errs.Corrupt, "RECORD_MISSING", "clone %s: golden %s or its snapshot %s has no record", c.Name, c.Golden, snapshotID)
	}
	engine, err := p.engine(golden)
	if err != nil {
		return launch{}, err
	}
	name := cloneName(c.ID, g)
	return launch{
		engine: engine, snapshot: snapshot,
		request: startRequest(name, path, c, golden, snapshot, p.cfg.Runtime),
		target: database.Target{
			ID: name, VolumePath: path, DataDir: snapshot.DataDir, Addr: c.Addr, Port: c.Port,
			Database: databaseOf(golden, snapshot), Role: engine.Role(), Password: p.password(c.ID),
		},
	}, nil
}

func startRequest(name, path string, c state.Clone, g state.Golden, s state.Snapshot, rt container.Runtime) database.StartRequest {
	return database.StartRequest{
		ID: name,
		Volume: database.Volume{
			TaskID: name, Path: path, DataDir: s.DataDir, Image: s.ImageID, Limits: limitsOf(c, g.Options),
		},
		Runtime: rt,
		Facts: database.Facts{
			Major: s.Major, SystemID: s.SystemID, CleanShutdown: true,
			Owner: container.User{UID: s.UID, GID: s.GID}, PreloadLibraries: s.PreloadLibraries,
		},
		Prepared: database.Prepared{
			Database: s.Database, Databases: s.Databases, SizeBytes: s.SizeBytes,
			PreloadLibraries: s.PreloadLibraries, Parameters: s.Parameters, CanCount: s.CanCount,
		},
		Settings: g.Options.Settings, Durable: g.Options.Durable, CountStatements: c.CountStatements,
		PublishAddr: c.Addr, PublishPort: c.Port,
	}
}

// limitsOf are those of a clone's instance.
func limitsOf(c state.Clone, o state.GoldenOptions) container.Limits {
	l := limits(o)
	if c.MemoryBytes > 0 {
		l.MemoryBytes = c.MemoryBytes
	}
	return l
}

func limits(o state.GoldenOptions) container.Limits {
	return container.Limits{MemoryBytes: o.MemoryBytes, CPUs: o.CPUs, PIDs: o.PIDs, ShmBytes: o.ShmBytes}
}

// databaseOf is the database that users are sent to.
func databaseOf(g state.Golden, s state.Snapshot) string {
	if g.Options.Database != "" {
		return g.Options.Database
	}
	return s.Database
}
