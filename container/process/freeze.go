package process

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// Freeze implements container.Runtime.
func (r *Runtime) Freeze(ctx context.Context, id string) error {
	w, err := r.find(id)
	if err != nil {
		return err
	}
	return container.FreezeInTries("instance "+id, func(deadline time.Time) (bool, error) {
		return r.freeze(ctx, id, w, deadline)
	}, func() error { return r.thaw(id, w) })
}

// freeze tries once to stop all processes of an instance.
func (r *Runtime) freeze(ctx context.Context, id string, w *watch, deadline time.Time) (done bool, err error) {
	w.stopped.Store(nil)
	// What is listed once all that was listed before has stopped, and is no more
	// than that, is all: nobody could start another process meanwhile.
	var before []identity
	for time.Now().Before(deadline) {
		if !w.running() {
			return false, errs.New(errs.Precondition, container.ReasonExited, "instance %s has ended", id)
		}
		if ctx.Err() != nil {
			return false, errs.New(errs.Unavailable, "CANCELLED", "freezing instance %s: %w", id, ctx.Err())
		}
		family, err := r.family(w, id)
		if err != nil {
			return false, err
		}
		all := len(family) > 0
		for _, one := range family {
			all = all && one.stopped && slices.Contains(before, one.identity)
			if !one.stopped {
				err = errors.Join(err, one.signal(r.boot, unix.SIGSTOP))
			}
		}
		if err != nil {
			return false, familyError(id, err)
		}
		if all {
			w.stopped.Store(&family)
			return true, nil
		}
		if before = nil; len(family) == 0 { // it has ended, which is soon noted
			container.PauseFreezing()
		}
		for _, one := range family {
			one.awaitStop(deadline)
			before = append(before, one.identity)
		}
	}
	return false, nil
}

// awaitStop returns when the process does nothing, or at the deadline.
func (one relative) awaitStop(deadline time.Time) {
	for !one.stopped && time.Now().Before(deadline) {
		now, err := relativeOf(one.PID, one.Boot)
		if err != nil || now.identity != one.identity {
			return // it has ended
		}
		if one = now; !one.stopped {
			container.PauseFreezing()
		}
	}
}

// Thaw implements container.Runtime.
func (r *Runtime) Thaw(_ context.Context, id string) error {
	w, err := r.find(id)
	if err != nil || !w.running() {
		return err
	}
	if stopped := w.stopped.Load(); stopped != nil && len(*stopped) == 0 && !w.frozen() {
		return nil
	}
	return r.thaw(id, w)
}

func (r *Runtime) thaw(id string, w *watch) error {
	family := w.stopped.Swap(nil)
	if family == nil || len(*family) == 0 { // then what is stopped is not known
		all, err := r.family(w, id)
		if err != nil {
			return err
		}
		family = &all
	}
	// The first process last: by it we tell whether an instance is frozen, should we
	// die in the middle.
	for _, one := range *family {
		if one.identity == w.process {
			continue
		}
		if err := one.signal(r.boot, unix.SIGCONT); err != nil {
			return familyError(id, err)
		}
	}
	if err := w.process.signal(r.boot, unix.SIGCONT); err != nil {
		return familyError(id, err)
	}
	w.stopped.Store(&[]relative{})
	return nil
}

// frozen says whether the process is stopped where it is.
func (w *watch) frozen() bool {
	now, err := relativeOf(w.process.PID, w.process.Boot)
	return err == nil && now.stopped
}

// find returns the watch of an instance's process; errs.NotFound if there is no
// such instance.
func (r *Runtime) find(id string) (*watch, error) {
	rec, err := r.load(id)
	if err != nil {
		return nil, err
	}
	return r.watch(rec)
}

// family lists the processes of an instance, the one of w first.
func (r *Runtime) family(w *watch, id string) ([]relative, error) {
	family, err := familyOf(w.process)
	if err == nil && !r.root { // what has lost its parent is nobody's child
		var all map[string][]relative
		all, err = r.marked()
		family = append(family, all[id]...)
	}
	if err != nil {
		return nil, familyError(id, err)
	}
	return family, nil
}
