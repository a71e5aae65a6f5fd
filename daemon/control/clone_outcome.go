package control

import (
	"fmt"
	"slices"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// commit writes the outcome of what was planned on the record c, unless the
// record has changed since (errStale), and tells those who wait.
func (r *cloneRun) commit(c state.Clone, change func(*state.Clone)) (out state.Clone, err error) {
	return r.commitTx(c, func(_ *state.Tx, c *state.Clone) { change(c) })
}

// commitTx is commit for what changes other records too.
func (r *cloneRun) commitTx(c state.Clone, change func(*state.Tx, *state.Clone)) (out state.Clone, err error) {
	err = r.p.step(stepCommitOutcome, func() error {
		return r.p.store.Update(func(tx *state.Tx) error {
			now, ok := tx.Clone(c.ID)
			if !ok || now.Revision != c.Revision {
				return errStale
			}
			change(tx, &now)
			tx.PutClone(&now)
			out = now
			return nil
		})
	})
	return out, err
}

// tell tells those who wait for the clone.
func (r *cloneRun) tell(c state.Clone, err error) {
	r.p.waiters.tell(cloneKey(c.ID), news{clone: &c, err: err})
}

// arrive notes that the present generation is what the user wants of it.
func (r *cloneRun) arrive(c *state.Clone) {
	if c.Suspend {
		c.State = state.CloneSuspended
		return
	}
	c.State, c.Claimed = state.CloneReady, c.Generation
	c.ReadySince = r.p.now().Round(0)
}

// settle: the present generation is as it is wanted.
func (r *cloneRun) settle(c state.Clone) error {
	out, err := r.commit(c, func(c *state.Clone) {
		c.Message, c.NextRestart, c.Renew = "", time.Time{}, false
		r.arrive(c)
	})
	if err != nil {
		return err
	}
	r.p.finish(out, "clone "+string(out.State), nil)
	r.tell(out, nil)
	return nil
}

// switchOver: the next generation becomes the present one.
func (r *cloneRun) switchOver(c state.Clone) error {
	timings := r.p.timings(c.ID)
	out, err := r.commit(c, func(c *state.Clone) {
		r.p.replace(c)
		if c.Held && c.Generation == 0 {
			c.Expires = r.p.now().Round(0).Add(HoldGrace)
		}
		c.Generation, c.Snapshot = c.Next, c.NextSnapshot
		c.Next, c.NextSnapshot = 0, ""
		c.Message, c.NextRestart, c.Failures, c.Renew = "", time.Time{}, 0, false
		if timings != nil {
			c.Timings = timings
		}
		r.arrive(c)
	})
	if err != nil {
		return err
	}
	r.p.finish(out, "clone "+string(out.State), nil)
	r.tell(out, nil)
	return nil
}

// dropNext: the next generation can't be made. A clone that has one stays as it
// was; one that has none is failed, or goes away if its maker waits.
func (r *cloneRun) dropNext(c state.Clone, cause *errs.Error) error {
	out, err := r.commit(c, func(c *state.Clone) {
		if !c.IsKept(c.Next) {
			c.Trash = append(c.Trash, c.Next)
		}
		c.Next, c.NextSnapshot, c.NotKept = 0, "", false
		switch {
		case c.Generation == 0 && c.DropOnFailure:
			c.State, c.Message = state.CloneDeleting, cause.Error()
		case c.Generation == 0:
			c.State, c.Message = state.CloneFailed, fmt.Sprintf("%s: %v", cause.Phase, cause)
		case c.Suspend:
			c.State = state.CloneSuspending
		default:
			c.State = state.CloneStarting
		}
	})
	if err != nil {
		return err
	}
	r.p.finish(out, "clone failed", cause)
	r.tell(out, cause)
	return nil
}

// markNotStarted: the present generation can't be started; it is tried again
// after a while.
func (r *cloneRun) markNotStarted(c state.Clone, cause *errs.Error) error {
	out, err := r.commit(c, func(c *state.Clone) {
		c.State, c.Message = state.CloneCrashed, fmt.Sprintf("%s: %v", cause.Phase, cause)
		c.Failures++
		c.NextRestart = r.p.now().Round(0).Add(backoff(c.Failures))
	})
	if err != nil {
		return err
	}
	if portTaken(cause) {
		cause = cause.WithHint("free the port, or resume the clone with --new-port")
	}
	r.p.finish(out, "clone not started", cause)
	r.tell(out, cause)
	return nil
}

// markCrash: the instance ended by itself.
func (r *cloneRun) markCrash(c state.Clone, seen part) error {
	out, err := r.commit(c, func(c *state.Clone) {
		now := r.p.now().Round(0)
		if now.Sub(c.ReadySince) >= steadyAfter {
			c.Failures = 0
		}
		c.State, c.Message = state.CloneCrashed, crashMessage(seen)
		c.NextRestart = now.Add(backoff(c.Failures))
		c.Failures++
		c.Restarts++
		if seen.observed.OOMKilled {
			c.OOMKills++
		}
	})
	if err != nil {
		return err
	}
	r.p.metrics.Restart(c.Golden, seen.observed.OOMKilled)
	r.p.log.Warn("clone crashed", "clone", c.Name, "id", c.ID, "golden", c.Golden, "generation", c.Generation,
		"message", out.Message, "restarts", out.Restarts)
	r.tell(out, nil)
	return nil
}

func crashMessage(seen part) string {
	switch {
	case seen.instance == absent:
		return "its instance was removed from outside; it is started again"
	case seen.observed.State == container.Created:
		return "its instance was never started; it is started again"
	case seen.observed.OOMKilled:
		return "its database was killed for want of memory; it is started again (raise the golden's memory limit if this goes on)"
	default:
		return fmt.Sprintf("its database ended by itself with exit code %d; it is started again", seen.observed.ExitCode)
	}
}

// markLost: the volume has vanished. It is never made anew, for that would pass
// a golden's data off as the user's.
func (r *cloneRun) markLost(c state.Clone) error {
	cause := errs.New(errs.Corrupt, "VOLUME_VANISHED", "volume %s has vanished", cloneName(c.ID, c.Generation)).
		WithHint("reset the clone to begin anew, or delete it")
	out, err := r.commit(c, func(c *state.Clone) {
		c.State, c.Message = state.CloneFailed, cause.Message+": "+cause.Hint
	})
	if err != nil {
		return err
	}
	r.p.finish(out, "clone failed", cause)
	r.tell(out, cause)
	return nil
}

// expire: the clone's time is over.
func (r *cloneRun) expire(c state.Clone) error {
	out, err := r.commitTx(c, func(tx *state.Tx, c *state.Clone) {
		c.Message = "expired"
		r.p.remove(tx, c, !r.p.cfg.KeepExpired)
	})
	if err != nil {
		return err
	}
	defer r.p.wakeSnapshots(c.ID)
	r.p.log.Info("clone expired", "clone", c.Name, "id", c.ID, "golden", c.Golden, "expires", c.Expires)
	if told := r.p.cfg.Expired; told != nil {
		if err := told(c); err != nil {
			r.p.log.Error("a clone's end is not in the audit log", "clone", c.Name, "id", c.ID, "error", err)
		}
	}
	r.p.begin(c.ID, &operation{name: OpDelete, started: r.p.now()})
	r.tell(out, nil)
	return nil
}

// dropTrash: nothing is left of a generation.
func (r *cloneRun) dropTrash(c state.Clone, g int64) error {
	out, err := r.commit(c, func(c *state.Clone) {
		c.Trash = slices.DeleteFunc(c.Trash, func(have int64) bool { return have == g })
		c.Kept = slices.DeleteFunc(c.Kept, func(k state.KeptGeneration) bool { return k.Generation == g })
		if c.Generation == g {
			c.Generation, c.Snapshot = 0, ""
		}
		if c.Next == g {
			c.Next, c.NextSnapshot = 0, ""
		}
		if len(c.Generations()) == 0 { // a failed create: only its record is left, which holds nothing
			c.Port, c.Snapshot = 0, ""
		}
	})
	r.p.letPortGo(c.ID, c.Port)
	if err != nil {
		return err
	}
	r.p.wakeOrigins(c)
	r.tell(out, nil)
	return nil
}

// wakeOrigins has the snapshots collected that a clone came from, if it was what
// held them.
func (p *Plane) wakeOrigins(c state.Clone) {
	for _, id := range origins(c) {
		if s, ok := p.store.View().Snapshot(id); ok && s.State == state.SnapshotDeleting {
			p.owners.wake(snapshotKey(id))
		}
	}
}

// forget: nothing is left of the clone but its record.
func (r *cloneRun) forget(c state.Clone) error {
	p := r.p
	err := p.step(stepCommitOutcome, func() error {
		return p.store.Update(func(tx *state.Tx) error {
			tx.DropClone(c.ID)
			return nil
		})
	})
	p.letPortGo(c.ID, c.Port)
	if err != nil {
		return err
	}
	p.finish(c, "clone deleted", nil)
	p.waiters.tell(cloneKey(c.ID), news{})
	p.wakeOrigins(c)
	return nil
}
