package control

import (
	"context"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// DeleteClone deletes a clone: it is gone for users, and its name free, when
// the record is written; if it waits, the answer comes when its parts are gone,
// but for what others descend from and what is kept to be brought back. A
// protected clone is errs.Precondition (PROTECTED). With Now the name may be that
// of a clone that was deleted and is kept.
func (p *Plane) DeleteClone(ctx context.Context, req DeleteRequest) error {
	began, name := p.now(), req.Name
	c, err := p.GetClone(ctx, name)
	if errs.Is(err, errs.NotFound) && req.Now {
		return p.forgetDeleted(ctx, name, req.Wait)
	}
	if err != nil {
		return err
	}
	key, id := cloneKey(c.ID), c.ID
	done := p.waiters.add(key, untilGone)
	defer p.waiters.drop(key, done)
	c, err = p.changeClone(ctx, name, func(tx *state.Tx, c *state.Clone) error {
		if c.ID != id {
			return errClone(name) // what was asked for is gone; another has its name
		}
		if c.Protect {
			return errProtected(c.Name)
		}
		p.remove(tx, c, req.Now)
		return nil
	})
	if err != nil {
		return err
	}
	p.startDelete(ctx, c, began)
	if !req.Wait {
		return nil
	}
	return p.wait(ctx, key, done)
}

// forgetDeleted gives up all that is kept of deleted clones of a name, at once.
func (p *Plane) forgetDeleted(ctx context.Context, name string, wait bool) error {
	who := caller(ctx)
	var dead []state.Clone
	err := p.step(stepCommitRequest, func() error {
		return p.store.Update(func(tx *state.Tx) error {
			for c := range tx.Clones() {
				if c.Name == name && who.sees(c) && who.changes(c) && !c.KeptUntil.IsZero() {
					dead = append(dead, c)
				}
			}
			if len(dead) == 0 {
				return errClone(name)
			}
			for i := range dead {
				forgetIn(tx, &dead[i], 0)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	gone := make([]*waiter, len(dead))
	for i, c := range dead {
		key := cloneKey(c.ID)
		gone[i] = p.waiters.add(key, untilForgotten(keptState{clone: c}))
		defer p.waiters.drop(key, gone[i])
		p.log.Info("deleted clone is forgotten", "clone", c.Name, "id", c.ID, "request", RequestID(ctx))
		p.refreshNews(c.ID)
		p.wakeSnapshots(c.ID)
		p.owners.wake(key)
	}
	for i := 0; wait && i < len(dead); i++ {
		if err := p.wait(ctx, cloneKey(dead[i].ID), gone[i]); err != nil {
			return err
		}
	}
	return nil
}

// DeleteClones deletes the clones that the filter selects; an empty one is
// errs.Invalid. Protected ones are skipped; with now nothing is kept. It answers
// when they are gone for users; their parts follow.
func (p *Plane) DeleteClones(ctx context.Context, f CloneFilter, now bool) (deleted, skipped []string, err error) {
	if f.empty() {
		return nil, nil, errs.Fieldf("filter", "must select by at least one attribute")
	}
	began := p.now()
	var gone []state.Clone
	err = p.step(stepCommitRequest, func() error {
		return p.store.Update(func(tx *state.Tx) error {
			who := caller(ctx)
			for c := range who.byName(&tx.View, "") {
				switch {
				case !f.matches(c) || !who.changes(c):
				case c.Protect:
					skipped = append(skipped, c.Name)
				default:
					gone = append(gone, c)
				}
			}
			for i := range gone {
				p.remove(tx, &gone[i], now)
			}
			return nil
		})
	})
	if err != nil {
		return nil, nil, err
	}
	for _, c := range gone {
		deleted = append(deleted, c.Name)
		p.refreshNews(c.ID)
		p.startDelete(ctx, c, began)
	}
	return deleted, skipped, nil
}

// startDelete has the parts of a clone removed whose record says so.
func (p *Plane) startDelete(ctx context.Context, c state.Clone, began time.Time) {
	p.log.Info("clone is deleted", "clone", c.Name, "id", c.ID, "golden", c.Golden, "request", RequestID(ctx))
	p.begin(c.ID, &operation{name: OpDelete, request: RequestID(ctx), started: began})
	p.owners.interrupt(cloneKey(c.ID))
	p.wakeSnapshots(c.ID)
}

func errProtected(name string) error {
	return errs.New(errs.Precondition, "PROTECTED", "clone %s is protected", name).
		WithHint("take the protection off first: clonectl unprotect %s", name)
}
