package control

import (
	"context"
	"errors"
	"maps"
	"sync/atomic"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// errUnchanged says that a clone is as the request wants it, or on its way.
var errUnchanged = errors.New("nothing to change")

// changeClone changes the record of a clone by name and tells those who wait.
// What change refuses, it returns as an error; errUnchanged is passed on with
// the clone.
func (p *Plane) changeClone(ctx context.Context, name string, change func(*state.Tx, *state.Clone) error) (out state.Clone, err error) {
	err = p.step(stepCommitRequest, func() error {
		return p.store.Update(func(tx *state.Tx) error {
			c, err := caller(ctx).toChange(&tx.View, name)
			if err != nil {
				return err
			}
			out = c
			if err := change(tx, &c); err != nil {
				return err
			}
			tx.PutClone(&c)
			out = c
			return nil
		})
	})
	if err == nil {
		p.refreshNews(out.ID)
	}
	return out, err
}

// UpdateClone changes attributes of a clone.
func (p *Plane) UpdateClone(ctx context.Context, name string, u CloneUpdate) (state.Clone, error) {
	if u.TTL != nil {
		if err := p.checkTTL(*u.TTL); err != nil {
			return state.Clone{}, err
		}
	}
	c, err := p.changeClone(ctx, name, func(_ *state.Tx, c *state.Clone) error {
		if u.Revision != 0 && u.Revision != c.Revision {
			return errs.New(errs.Conflict, "REVISION", "clone %s has revision %d by now, not %d", name, c.Revision, u.Revision).
				WithHint("read it again and repeat the change")
		}
		ttl, protect := u.TTL, u.Protect != nil && *u.Protect && !c.Protect
		if ttl != nil || protect {
			life, err := p.limitLife(caller(ctx), c.Golden, value(ttl), protect)
			if err != nil {
				return err
			}
			if ttl != nil {
				c.Expires, c.Held = p.expiry(life), false
			}
		}
		if u.Protect != nil {
			c.Protect = *u.Protect
		}
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		maps.Copy(c.Labels, u.SetLabels)
		for _, key := range u.RemoveLabels {
			delete(c.Labels, key)
		}
		return checkLabels(c.Labels)
	})
	if err != nil {
		return state.Clone{}, err
	}
	p.log.Info("clone updated", "clone", c.Name, "id", c.ID, "expires", c.Expires, "protect", c.Protect, "request", RequestID(ctx))
	p.owners.wake(cloneKey(c.ID))
	return c, nil
}

// value is what p points to; 0 for nil.
func value(p *time.Duration) time.Duration {
	if p == nil {
		return 0
	}
	return *p
}

// SuspendClone stops a clone's instance and keeps its volume.
func (p *Plane) SuspendClone(ctx context.Context, name string) (state.Clone, error) {
	return p.ask(ctx, name, OpSuspend, untilSuspended, func(_ *state.Tx, c *state.Clone) error {
		if c.Next != 0 || c.Generation == 0 {
			return errBusy(*c)
		}
		if c.Suspend {
			return errUnchanged
		}
		c.Suspend, c.State = true, state.CloneSuspending
		return nil
	})
}

// ResumeClone starts a suspended clone again, and one that waits for a restart
// at once. If something took its port: errs.Exhausted (PORT_TAKEN), or with
// newPort it gets another.
func (p *Plane) ResumeClone(ctx context.Context, name string, newPort bool) (state.Clone, error) {
	if err := p.open(ctx); err != nil {
		return state.Clone{}, err
	}
	id, port, err := p.portToResume(ctx, name, newPort)
	if err != nil {
		return state.Clone{}, err
	}
	var old int
	c, err := p.ask(ctx, name, OpResume, untilReady, func(tx *state.Tx, c *state.Clone) error {
		before := *c
		old = 0
		switch {
		case c.Next != 0 || c.Generation == 0:
			return errBusy(*c)
		case c.State == state.CloneReady, c.State == state.CloneStarting && port == 0:
			return errUnchanged
		case port != 0:
			old, c.Port, c.Renew = c.Port, port, true
		}
		c.Suspend, c.State = false, state.CloneStarting
		c.Message, c.Failures, c.NextRestart = "", 0, time.Time{}
		return p.checkShare(&tx.View, caller(ctx), before, *c)
	})
	switch now, ok := p.store.View().Clone(id); {
	case port == 0:
	case ok && now.Port == port:
		p.ports.release(old, now.ID)
	default:
		p.ports.release(port, id)
	}
	return c, err
}

// portToResume returns another port for a clone whose own is taken by something
// else, or 0 if it can keep its own; and its ID.
func (p *Plane) portToResume(ctx context.Context, name string, newPort bool) (id string, port int, err error) {
	c, err := p.GetClone(ctx, name)
	if err != nil || c.State == state.CloneReady || c.Next != 0 || c.Generation == 0 {
		return c.ID, 0, err // it runs, or can't be resumed now
	}
	i, err := p.inspect(ctx, cloneName(c.ID, c.Generation))
	var now part
	if err == nil {
		now.see(i)
	} else if !errs.Is(err, errs.NotFound) {
		return c.ID, 0, err
	}
	if now.running { // the port's holder is the clone itself
		return c.ID, 0, nil
	}
	taken := p.ports.probe(c.Port)
	switch {
	case taken == nil:
		return c.ID, 0, nil
	case !newPort:
		return c.ID, 0, taken.WithHint("free it, or resume with --new-port")
	}
	port, err = p.ports.reserve(c.ID)
	return c.ID, port, err
}

// ResetClone puts a clone back to a snapshot of its lineage: a new generation is
// made beside the present one and takes its place at the end. If that fails, the
// clone is as before. A suspended clone stays suspended.
func (p *Plane) ResetClone(ctx context.Context, req ResetRequest) (state.Clone, error) {
	if err := p.open(ctx); err != nil {
		return state.Clone{}, err
	}
	if err := p.room(ctx, 0); err != nil {
		return state.Clone{}, inPhase(PhaseAdmit, err)
	}
	var generation int64
	change := func(tx *state.Tx, c *state.Clone) error {
		if c.Generation == 0 {
			return errBusy(*c)
		}
		s, err := p.resetTo(tx, caller(ctx), *c, req)
		switch {
		case err != nil:
			return err
		case c.Next != 0 && c.NextSnapshot != s.ID:
			return errBusy(*c)
		case c.Next != 0:
			generation = c.Next
			return errUnchanged
		}
		c.LastGeneration++
		generation = c.LastGeneration
		c.NotKept = req.Now || c.State == state.CloneFailed
		c.Next, c.NextSnapshot, c.State = generation, s.ID, state.CloneResetting
		return nil
	}
	// The generation is known only once the change is made; no news comes before.
	var u until
	wait := func(n news) (bool, error) {
		if u == nil {
			u = untilGeneration(generation)
		}
		return u(n)
	}
	if !req.Wait {
		wait = nil
	}
	return p.ask(ctx, req.Name, OpReset, wait, change)
}

// resetTo is the snapshot that a reset goes back to. The clone's own origin can
// be hidden: it is there as long as the clone is.
func (p *Plane) resetTo(tx *state.Tx, who Caller, c state.Clone, req ResetRequest) (state.Snapshot, error) {
	v := &tx.View
	switch {
	case req.Newest && req.Snapshot != "":
		return state.Snapshot{}, errs.Fieldf("snapshot", "can't be given together with newest")
	case req.Clone != "" && (req.Newest || req.Snapshot != ""):
		return state.Snapshot{}, errs.Fieldf("clone", "can't be given together with newest or snapshot")
	case req.Clone != "":
		return p.stateOf(tx, who, c, req.Clone)
	case req.Newest:
		return chooseSnapshot(v, who, c.Golden, "")
	case req.Snapshot != "" && req.Snapshot != c.Snapshot:
		return inLineage(v, who, c, req.Snapshot)
	}
	s, ok := v.Snapshot(c.Snapshot)
	if !ok {
		return state.Snapshot{}, errSnapshot(c.Snapshot)
	}
	return s, nil
}

// stateOf has a snapshot taken of a clone's present state, for another clone of
// the same golden to take over.
func (p *Plane) stateOf(tx *state.Tx, who Caller, c state.Clone, name string) (s state.Snapshot, err error) {
	from, err := who.clone(&tx.View, name)
	switch {
	case err != nil:
		return s, err
	case from.ID == c.ID:
		return s, errs.Fieldf("clone", "%s can't take over its own state", name)
	case from.Golden != c.Golden:
		return s, errs.New(errs.Precondition, "OTHER_GOLDEN", "clone %s is of golden %s, and %s of %s", name, from.Golden, c.Name, c.Golden)
	case c.Next != 0 || c.Generation == 0:
		return s, errBusy(c)
	}
	if s, err = p.planSnapshot(tx, &from, newID()); err == nil {
		s.For = c.ID
		tx.PutSnapshot(&s)
	}
	return s, err
}

// ask changes what is wanted of a clone, has its owner see to it, and waits if
// there is something to wait for.
func (p *Plane) ask(ctx context.Context, name, op string, u until, change func(*state.Tx, *state.Clone) error) (state.Clone, error) {
	began := p.now()
	c, err := p.GetClone(ctx, name)
	if err != nil {
		return state.Clone{}, err
	}
	key, id := cloneKey(c.ID), c.ID
	var done *waiter
	var since atomic.Uint64 // the revision of the change: older news is of no interest
	if u != nil {
		done = p.waiters.add(key, func(n news) (bool, error) {
			if at := since.Load(); at == 0 || n.clone != nil && n.clone.Revision < at {
				return false, nil
			}
			return u(n)
		})
		defer p.waiters.drop(key, done)
	}
	c, err = p.changeClone(ctx, name, func(tx *state.Tx, c *state.Clone) error {
		if c.ID != id {
			return errDeleted()
		}
		err := change(tx, c)
		if since.Store(tx.Revision() + 1); errors.Is(err, errUnchanged) {
			since.Store(c.Revision)
		}
		return err
	})
	switch {
	case errors.Is(err, errUnchanged):
		p.owners.wake(key)
	case err != nil:
		return state.Clone{}, err
	default:
		p.begin(id, &operation{name: op, request: RequestID(ctx), started: began})
		p.owners.interrupt(key) // it may be waiting for what is no longer wanted
	}
	if done == nil {
		return c, nil
	}
	p.refreshNews(id)
	return p.result(ctx, id, done)
}

func errBusy(c state.Clone) error {
	if c.State == state.CloneFailed {
		return errs.New(errs.Precondition, "CLONE_FAILED", "clone %s has failed: %s", c.Name, c.Message).
			WithHint("delete it, or create it again")
	}
	return errs.New(errs.Conflict, "CLONE_BUSY", "clone %s is %s", c.Name, c.State).WithHint("wait until it is ready and repeat the request")
}
