package control

import (
	"context"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// HoldGrace is how long a held clone lives on without a holder: while its maker
// connects, and after the last holder has gone.
const HoldGrace = time.Minute

// HoldClone keeps a clone that was made to be held alive until ctx ends. held is
// called once it does. errs.Precondition (NOT_HELD) for a clone with another
// lease. It returns nil when ctx has ended, and errs.NotFound when the clone was
// deleted.
func (p *Plane) HoldClone(ctx context.Context, name string, held func() error) error {
	c, err := caller(ctx).toChange(p.store.View(), name)
	if err != nil {
		return err
	}
	if !c.Held {
		return errs.New(errs.Precondition, "NOT_HELD", "clone %s has no lease that is held: it lives until its time is over", name).
			WithHint("prolong it: clonectl extend %s 4h", name)
	}
	p.addHolder(c.ID, 1)
	defer func() {
		p.letGo(c.ID) // before the count says so, lest the old time counts for a moment
		p.addHolder(c.ID, -1)
		p.owners.wake(cloneKey(c.ID))
	}()
	p.owners.wake(cloneKey(c.ID))
	if err := held(); err != nil {
		return err
	}
	gone := p.waiters.add(cloneKey(c.ID), func(n news) (bool, error) {
		if n.clone == nil || n.clone.State == state.CloneDeleting {
			return true, errClone(name)
		}
		return false, nil
	})
	p.refreshNews(c.ID)
	err = p.wait(ctx, cloneKey(c.ID), gone)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// addHolder counts the holders of a clone.
func (p *Plane) addHolder(id string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holders[id] += n; p.holders[id] == 0 {
		delete(p.holders, id)
	}
}

// IsHeld says whether somebody holds the clone of the ID at present.
func (p *Plane) IsHeld(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.holders[id] > 0
}

// letGo writes until when a clone lives if nobody else holds it. If that fails, it
// expires all the same: what is recorded is in the past.
func (p *Plane) letGo(id string) {
	err := p.step(stepCommitOutcome, func() error {
		return p.store.Update(func(tx *state.Tx) error {
			c, ok := tx.Clone(id)
			if !ok || c.State == state.CloneDeleting || c.Generation == 0 || !c.Held {
				return errStale
			}
			c.Expires = p.now().Round(0).Add(HoldGrace)
			tx.PutClone(&c)
			return nil
		})
	})
	if err == nil {
		p.refreshNews(id)
	}
}
