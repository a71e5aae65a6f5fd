package control

import (
	"context"
	"sync"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// news is what an owner tells those who wait for its key: the record after a
// change or a failed attempt (nil: it is gone), and what failed.
type news struct {
	clone *state.Clone
	err   error
}

// until decides, from one piece of news after the other, whether a wait is over
// and how it ended.
type until func(news) (over bool, result error)

// waiters are the requests that wait for owners, by key.
type waiters struct {
	mu sync.Mutex
	m  map[string]map[*waiter]struct{}
}

type waiter struct {
	until until
	done  chan error // takes the one result
}

// add registers a wait. It comes before the change that it waits for, so that
// no news is missed.
func (w *waiters) add(key string, u until) *waiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m == nil {
		w.m = map[string]map[*waiter]struct{}{}
	}
	if w.m[key] == nil {
		w.m[key] = map[*waiter]struct{}{}
	}
	wt := &waiter{until: u, done: make(chan error, 1)}
	w.m[key][wt] = struct{}{}
	return wt
}

// drop ends a wait that nobody is interested in any more.
func (w *waiters) drop(key string, wt *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.m[key], wt)
	if len(w.m[key]) == 0 {
		delete(w.m, key)
	}
}

// tell passes news on.
func (w *waiters) tell(key string, n news) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for wt := range w.m[key] {
		if over, result := wt.until(n); over {
			wt.done <- result
			delete(w.m[key], wt)
		}
	}
	if len(w.m[key]) == 0 {
		delete(w.m, key)
	}
}

// wait returns the result of a wait; the work goes on if ctx ends before.
func (p *Plane) wait(ctx context.Context, key string, wt *waiter) error {
	defer p.waiters.drop(key, wt)
	select {
	case err := <-wt.done:
		return err
	case <-ctx.Done():
		return errs.New(errs.Unavailable, "WAIT_ENDED", "the request ended while the work goes on: %w", ctx.Err())
	case <-p.ctx.Done():
		return errStopping()
	}
}

func errStopping() error {
	return errs.New(errs.Unavailable, "STOPPING", "the daemon is stopping; what was begun is finished when it is back")
}

func errDeleted() error {
	return errs.New(errs.NotFound, "CLONE_NOT_FOUND", "the clone was deleted meanwhile")
}

// untilGeneration waits for a new generation to become the present one. If it
// does not, it waits for what was made of it to be gone and the clone to be at
// rest.
func untilGeneration(g int64) until {
	return untilReached(g, func(now int64) bool { return now >= g })
}

// untilIs is untilGeneration for one that was kept, which is an older one.
func untilIs(g int64) until {
	return untilReached(g, func(now int64) bool { return now == g })
}

func untilReached(g int64, reached func(int64) bool) until {
	var failed error
	return func(n news) (bool, error) {
		c := n.clone
		switch {
		case c != nil && reached(c.Generation) && c.State != state.CloneDeleting:
			return true, nil
		case c != nil && c.Next == g && c.State != state.CloneDeleting:
			return n.err != nil, n.err
		case failed == nil && n.err != nil:
			failed = n.err
		case failed == nil && c != nil && c.State != state.CloneDeleting:
			failed = errs.New(errs.Conflict, "FAILED", "the clone failed: %s", c.Message)
		case failed == nil:
			failed = errDeleted()
		case n.err != nil:
			return true, failed // it can't be tidied up now
		}
		return c == nil || tidy(c, g), failed
	}
}

// tidy says that nothing is left of a generation and the clone is at rest.
func tidy(c *state.Clone, g int64) bool {
	for _, have := range c.Generations() {
		if have == g && !c.IsKept(g) {
			return false
		}
	}
	switch c.State {
	case state.CloneReady, state.CloneSuspended, state.CloneCrashed, state.CloneFailed:
		return true
	}
	return false
}

// untilSuspended waits for a clone to have no instance.
func untilSuspended(n news) (bool, error) {
	switch c := n.clone; {
	case c == nil || c.State == state.CloneDeleting:
		return true, errDeleted()
	case n.err != nil:
		return true, n.err
	case !c.Suspend:
		return true, errs.New(errs.Conflict, "CHANGED", "the clone was resumed meanwhile")
	default:
		return c.State == state.CloneSuspended, nil
	}
}

// untilReady waits for a clone to answer.
func untilReady(n news) (bool, error) {
	switch c := n.clone; {
	case c == nil || c.State == state.CloneDeleting:
		return true, errDeleted()
	case n.err != nil:
		return true, n.err
	case c.Suspend:
		return true, errs.New(errs.Conflict, "CHANGED", "the clone was suspended meanwhile")
	case c.State == state.CloneFailed:
		return true, errs.New(errs.Corrupt, "CLONE_FAILED", "the clone has failed: %s", c.Message)
	default:
		return c.State == state.CloneReady, nil
	}
}

// untilGone waits for nothing to be left. What others descend from may stay:
// for users it is gone.
func untilGone(n news) (bool, error) {
	if hasDependents(n.err) {
		return true, nil
	}
	return n.clone == nil || n.err != nil, n.err
}

// errKept tells that the rest of a deletion waits for descendants to go.
var errKept = errs.New(errs.Precondition, storage.ReasonHasDependents, "others descend from the volume: it is collected when they have gone")

// The reasons that the drivers give and the Plane acts upon.
func hasDependents(err error) bool {
	return err != nil && errs.As(err).Reason == storage.ReasonHasDependents
}

func portTaken(err error) bool {
	return err != nil && errs.As(err).Reason == container.ReasonPortTaken
}
