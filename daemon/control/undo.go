package control

import (
	"context"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// revivedTTL is the least that a clone lives on that is brought back.
const revivedTTL = time.Hour

// UndoClone brings back what the last reset or the deletion of a clone replaced;
// generation names an older one of what is kept, 0 the newest. What it replaces
// in turn is kept, so that a second undo takes the first one back; one that names
// the generation that the clone has already changes nothing. errs.Precondition
// (NOTHING_TO_UNDO) if nothing is kept.
func (p *Plane) UndoClone(ctx context.Context, name string, generation int64) (state.Clone, error) {
	if err := p.open(ctx); err != nil {
		return state.Clone{}, err
	}
	c, err := p.GetClone(ctx, name)
	dead, isDead := p.lastDeleted(caller(ctx), name)
	switch {
	case err != nil && isDead:
		return p.revive(ctx, dead)
	case err != nil:
		return state.Clone{}, err
	case len(c.Kept) == 0 && isDead:
		return state.Clone{}, errs.New(errs.Exists, "NAME_TAKEN", "another clone is named %s by now", name).
			WithHint("delete that one first: clonectl rm --now %s", name)
	}
	var target int64
	var u until
	wait := func(n news) (bool, error) {
		if u == nil {
			u = untilIs(target)
		}
		return u(n)
	}
	return p.ask(ctx, name, OpUndo, wait, func(_ *state.Tx, c *state.Clone) error {
		switch {
		case generation != 0 && (c.Next == generation || c.Next == 0 && c.Generation == generation):
			target = generation
			return errUnchanged
		case c.Next != 0 || c.Generation == 0:
			return errBusy(*c)
		}
		k, err := choose(c, generation)
		if err != nil {
			return err
		}
		k.Settled = false
		target = k.Generation
		c.Next, c.NextSnapshot, c.NotKept = k.Generation, k.Snapshot, c.State == state.CloneFailed
		c.State = state.CloneResetting
		return nil
	})
}

// choose returns what is to be brought back of a clone.
func choose(c *state.Clone, generation int64) (*state.KeptGeneration, error) {
	if len(c.Kept) == 0 {
		return nil, errs.New(errs.Precondition, "NOTHING_TO_UNDO", "nothing is kept that clone %s could go back to", c.Name).
			WithHint("clonectl log %s shows the snapshots that it can be reset to", c.Name)
	}
	if generation == 0 {
		return &c.Kept[len(c.Kept)-1], nil
	}
	for i := range c.Kept {
		if c.Kept[i].Generation == generation {
			return &c.Kept[i], nil
		}
	}
	return nil, errs.Fieldf("generation", "%d of clone %s is not kept", generation, c.Name).
		WithHint("clonectl show %s shows those that are", c.Name)
}

// lastDeleted returns the clone that was last deleted under the name, if it can
// be brought back.
func (p *Plane) lastDeleted(who Caller, name string) (last state.Clone, ok bool) {
	for c := range p.store.View().Clones() {
		if c.Name == name && who.sees(c) && who.changes(c) && !c.KeptUntil.IsZero() && c.KeptUntil.After(last.KeptUntil) {
			last, ok = c, true
		}
	}
	return last, ok
}

// DeletedClones returns the deleted clones that can be brought back and that the
// filter selects.
func (p *Plane) DeletedClones(ctx context.Context, f CloneFilter) []state.Clone {
	var out []state.Clone
	who := caller(ctx)
	for c := range p.store.View().Clones() {
		if !c.KeptUntil.IsZero() && who.sees(c) && f.matches(c) {
			out = append(out, c)
		}
	}
	return out
}

// revive brings a deleted clone back, on its own port if that is free.
func (p *Plane) revive(ctx context.Context, dead state.Clone) (state.Clone, error) {
	// Not under the clone's ID yet: its owner may be about to give its port back, for
	// it has seen it deleted.
	port, holder := dead.Port, "undo of "+dead.ID
	err := p.ports.reserveOne(port, holder)
	if err != nil {
		port, err = p.ports.reserve(holder)
	}
	if err != nil {
		return state.Clone{}, err
	}
	u := untilReady
	if dead.Suspend {
		u = untilSuspended
	}
	began, key := p.now(), cloneKey(dead.ID)
	done := p.waiters.add(key, func(n news) (bool, error) {
		if n.clone != nil && n.clone.State == state.CloneDeleting {
			return false, nil // from before
		}
		return u(n)
	})
	var c state.Clone
	err = p.step(stepCommitRequest, func() error {
		return p.store.Update(func(tx *state.Tx) error {
			now, ok := tx.Clone(dead.ID)
			if !ok || now.KeptUntil.IsZero() {
				return errClone(dead.Name)
			}
			before := now
			now.Renew = now.Port != port
			now.Port, now.KeptUntil = port, time.Time{}
			now.Message, now.Failures, now.NextRestart = "", 0, time.Time{}
			if soon := p.now().Round(0).Add(revivedTTL); !now.Expires.IsZero() && now.Expires.Before(soon) {
				now.Expires = soon
			}
			now.State = state.CloneStarting
			if now.Suspend {
				now.State = state.CloneSuspending
			}
			if err := p.checkShare(&tx.View, caller(ctx), before, now); err != nil {
				return err
			}
			tx.PutClone(&now)
			c = now
			return nil
		})
	})
	p.ports.hold(port, dead.ID)
	if err != nil {
		p.waiters.drop(key, done)
		p.letPortGo(dead.ID, port)
		return state.Clone{}, err
	}
	p.log.Info("deleted clone is brought back", "clone", c.Name, "id", c.ID, "request", RequestID(ctx))
	p.begin(c.ID, &operation{name: OpUndo, request: RequestID(ctx), started: began})
	p.owners.interrupt(key)
	return p.result(ctx, c.ID, done)
}
