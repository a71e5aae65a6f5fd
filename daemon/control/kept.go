package control

import (
	"context"
	"slices"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// retire writes that a clone is deleted and can be brought back for a while: it
// is gone for users and has no instance, and its volume and snapshots stay.
func (p *Plane) retire(tx *state.Tx, c *state.Clone) {
	for _, s := range tx.CloneSnapshots(c.ID) {
		if s.State == state.SnapshotPreparing {
			giveUpSnapshot(tx, s, *c)
		}
	}
	if c.Next != 0 && !c.IsKept(c.Next) {
		c.Trash = append(c.Trash, c.Next)
	}
	c.Next, c.NextSnapshot, c.Taking, c.NotKept = 0, "", nil, false
	c.State, c.KeptUntil = state.CloneDeleting, p.now().Round(0).Add(p.cfg.KeepFor)
	tx.PutClone(c)
}

// remove writes that a clone is deleted: with now for good, else so that it can
// be brought back if there is something to bring back.
func (p *Plane) remove(tx *state.Tx, c *state.Clone, now bool) {
	if now || p.cfg.KeepFor == 0 || c.Held || c.Generation == 0 || c.State == state.CloneFailed {
		doom(tx, c)
		return
	}
	p.retire(tx, c)
}

// replace puts the present generation of a clone aside: to be brought back, or
// to be removed.
func (p *Plane) replace(c *state.Clone) {
	switch {
	case c.Generation == 0:
	case p.cfg.KeepFor == 0 || c.NotKept:
		c.Trash = append(c.Trash, c.Generation)
	default:
		now := p.now().Round(0)
		c.Kept = append(c.Kept, state.KeptGeneration{
			Generation: c.Generation, Snapshot: c.Snapshot, Since: now, Until: now.Add(p.cfg.KeepFor),
		})
	}
	c.Kept = slices.DeleteFunc(c.Kept, func(k state.KeptGeneration) bool { return k.Generation == c.Next })
	c.NotKept = false
}

// planRetired sees to a deleted clone that can be brought back: its instances
// go, and what is no longer wanted in any case.
func planRetired(c state.Clone, o parts, now time.Time) Action {
	for _, g := range c.Generations() {
		if o[g].instance != absent {
			return Action{Kind: RemoveInstance, Generation: g}
		}
	}
	for _, g := range c.Trash {
		if a := planRemoval([]int64{g}, o, Action{Kind: DropTrash, Generation: g}); a.Kind != None {
			return a
		}
	}
	switch k := planKept(c, o, now); {
	case !now.Before(c.KeptUntil):
		return Action{Kind: ForgetKept}
	case k.Kind == None, k.Kind == Wait && c.KeptUntil.Before(k.At):
		return Action{Kind: Wait, At: c.KeptUntil}
	default:
		return k
	}
}

// planKept sees to the generations of a clone that can be brought back.
func planKept(c state.Clone, o parts, now time.Time) Action {
	var a Action
	for _, k := range c.Kept {
		switch {
		case !k.Settled && o[k.Generation].instance != absent:
			return Action{Kind: RemoveInstance, Generation: k.Generation}
		case !k.Settled:
			return Action{Kind: SettleKept, Generation: k.Generation}
		case !now.Before(k.Until):
			return Action{Kind: ForgetKept, Generation: k.Generation}
		case a.At.IsZero() || k.Until.Before(a.At):
			a = Action{Kind: Wait, At: k.Until}
		}
	}
	return a
}

// settleKept: nothing is left of a kept generation's instance.
func (r *cloneRun) settleKept(c state.Clone, g int64) error {
	_, err := r.commit(c, func(c *state.Clone) {
		for i := range c.Kept {
			c.Kept[i].Settled = c.Kept[i].Settled || c.Kept[i].Generation == g
		}
	})
	return err
}

// forgetKept: a kept generation, or for 0 a deleted clone, can't be brought back
// any longer.
func (r *cloneRun) forgetKept(c state.Clone, g int64) error {
	_, err := r.commitTx(c, func(tx *state.Tx, c *state.Clone) { forgetIn(tx, c, g) })
	if err == nil && g == 0 {
		r.p.wakeSnapshots(c.ID)
	}
	return err
}

func forgetIn(tx *state.Tx, c *state.Clone, g int64) {
	if g == 0 {
		c.KeptUntil = time.Time{}
		doom(tx, c)
		return
	}
	c.Kept = slices.DeleteFunc(c.Kept, func(k state.KeptGeneration) bool { return k.Generation == g })
	c.Trash = append(c.Trash, g)
}

// keptState is something that can be brought back: a generation of a clone, or
// for 0 a deleted clone.
type keptState struct {
	clone      state.Clone
	generation int64
	since      time.Time
}

func (k keptState) volume() string {
	if k.generation == 0 {
		return cloneName(k.clone.ID, k.clone.Generation)
	}
	return cloneName(k.clone.ID, k.generation)
}

// keptStates returns all that can be brought back, newest first.
func (p *Plane) keptStates(v *state.View) []keptState {
	var all []keptState
	for c := range v.Clones() {
		if !c.KeptUntil.IsZero() {
			all = append(all, keptState{c, 0, c.KeptUntil.Add(-p.cfg.KeepFor)})
		}
		for _, k := range c.Kept {
			if k.Generation != c.Next {
				all = append(all, keptState{c, k.Generation, k.Since})
			}
		}
	}
	slices.SortFunc(all, func(a, b keptState) int { return b.since.Compare(a.since) })
	return all
}

// trimEvery is how often the space of what is kept is looked at.
const trimEvery = time.Minute

// trimKept forgets the oldest of what is kept while all of it takes more than
// its budget, or the pool has less free than is to stay free.
func (p *Plane) trimKept(ctx context.Context) {
	if now := p.now(); now.Sub(p.trimmed) >= trimEvery || now.Before(p.trimmed) {
		p.trimmed = now
	} else if have, _ := p.space.sample(); have.Free >= p.cfg.FloorBytes {
		return
	}
	all := p.keptStates(p.store.View())
	if len(all) == 0 {
		p.kept.Store(0)
		return
	}
	if have, _ := p.space.sample(); have.Free < p.cfg.FloorBytes {
		_ = p.forgetState(all[len(all)-1], "the pool is nearly full") // else the next pass does
		return
	}
	var sum int64
	over := false // and so is all that is older
	for _, k := range all {
		usage, err := p.cfg.Driver.Usage(ctx, k.volume())
		if err != nil {
			continue // it is being removed, or the next look will tell
		}
		over = over || p.cfg.KeepBytes > 0 && sum+usage.Unique > p.cfg.KeepBytes
		if over && p.forgetState(k, "what is kept takes more than its budget") == nil { // else the next look does
			continue
		}
		sum += usage.Unique
	}
	p.kept.Store(sum)
}

// KeptBytes is what all that can be brought back held for itself at the last look,
// in bytes: what forgetting it would free.
func (p *Plane) KeptBytes() int64 { return p.kept.Load() }

// forgetState has a kept state removed, unless it changed since it was looked
// at, which is an error.
func (p *Plane) forgetState(k keptState, why string) error {
	err := p.step(stepCommitOutcome, func() error {
		return p.store.Update(func(tx *state.Tx) error {
			now, ok := tx.Clone(k.clone.ID)
			if !ok || now.Revision != k.clone.Revision {
				return errStale
			}
			forgetIn(tx, &now, k.generation)
			tx.PutClone(&now)
			return nil
		})
	})
	if err != nil {
		return err
	}
	p.log.Info("kept state forgotten", "clone", k.clone.Name, "id", k.clone.ID, "generation", k.generation, "why", why)
	if k.generation == 0 {
		p.wakeSnapshots(k.clone.ID)
	}
	p.owners.wake(cloneKey(k.clone.ID))
	return nil
}

// room refuses if what is free is less than need more than the floor, after
// everything kept has been given up, the oldest first.
func (p *Plane) room(ctx context.Context, need int64) error {
	for {
		err := p.step(stepSpace, func() error { return p.space.check(ctx, need, p.cfg.FloorBytes) })
		if err == nil || errs.KindOf(err) != errs.Exhausted {
			return err
		}
		all := p.keptStates(p.store.View())
		if len(all) == 0 {
			return err
		}
		p.giveUp(ctx, all[len(all)-1])
		if ctx.Err() != nil {
			return err
		}
	}
}

// giveUpWithin bounds the wait for what a kept state took to be free. Others may
// descend from it: then it is not freed at all.
const giveUpWithin = 10 * time.Second

// giveUp forgets a kept state and waits for its volume to go.
func (p *Plane) giveUp(ctx context.Context, k keptState) {
	key := cloneKey(k.clone.ID)
	done := p.waiters.add(key, untilForgotten(k))
	_ = p.forgetState(k, "its space is needed") // what is left over is looked at again
	p.refreshNews(k.clone.ID)
	ctx, cancel := context.WithTimeout(ctx, giveUpWithin)
	defer cancel()
	if err := p.wait(ctx, key, done); err != nil {
		p.log.Warn("the space of a kept state is not free yet", "clone", k.clone.Name, "id", k.clone.ID, "generation", k.generation, "error", err)
	}
}

// untilForgotten waits for nothing to be left of what was kept.
func untilForgotten(k keptState) until {
	return func(n news) (bool, error) {
		switch {
		case n.clone == nil || hasDependents(n.err):
			return true, nil
		case n.err != nil:
			return true, n.err
		case k.generation == 0:
			return n.clone.State != state.CloneDeleting, nil // it was brought back
		default:
			return !slices.Contains(n.clone.Generations(), k.generation) || n.clone.Generation == k.generation, nil
		}
	}
}
