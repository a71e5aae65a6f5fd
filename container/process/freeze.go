package process

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// freezeTry is how long one try to stop all processes may take, and freezeTries
// how many there are: a process that waits for a child of vfork(2) can't be
// stopped, and if the child has been, it waits for ever. So all are let go on then.
// freezePoll is between two looks: it is short, for their users wait.
const (
	freezeTry   = 50 * time.Millisecond
	freezeTries = 100
	freezePoll  = 20 * time.Microsecond
)

// Freeze implements container.Runtime.
func (r *Runtime) Freeze(ctx context.Context, id string) error {
	w, err := r.find(id)
	if err != nil {
		return err
	}
	for range freezeTries {
		done, err := r.freeze(ctx, id, w)
		if done {
			return nil
		}
		if err = errors.Join(err, r.thaw(id, w)); err != nil {
			return err
		}
	}
	return errs.New(errs.Unavailable, "NOT_FROZEN", "the processes of instance %s can't be stopped", id)
}

// freeze tries once to stop all processes of an instance.
func (r *Runtime) freeze(ctx context.Context, id string, w *watch) (done bool, err error) {
	// The second look in a row that finds nothing running has seen all: what it
	// lists was listed when nobody could start another process any more.
	deadline := time.Now().Add(freezeTry)
	for quiet := 0; quiet < 2; {
		if !w.running() {
			return false, errs.New(errs.Precondition, container.ReasonExited, "instance %s has ended", id)
		}
		running, err := r.signalFamily(id, w, unix.SIGSTOP)
		if err != nil || time.Now().After(deadline) {
			return false, err
		}
		if quiet++; running > 0 {
			quiet = 0
			if ctx.Err() != nil {
				return false, errs.New(errs.Unavailable, "CANCELLED", "freezing instance %s: %w", id, ctx.Err())
			}
			container.Pause(freezePoll)
		}
	}
	return true, nil
}

// Thaw implements container.Runtime.
func (r *Runtime) Thaw(_ context.Context, id string) error {
	w, err := r.find(id)
	if err != nil || !w.running() {
		return err
	}
	return r.thaw(id, w)
}

func (r *Runtime) thaw(id string, w *watch) error {
	_, err := r.signalFamily(id, w, unix.SIGCONT)
	return err
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

// signalFamily sends a signal to the process of w, and then to all that it has
// started, and returns how many of them ran before. Those that are stopped are
// not stopped again.
func (r *Runtime) signalFamily(id string, w *watch, sig unix.Signal) (running int, err error) {
	family, err := descendants(w.process.PID, r.boot)
	if err != nil {
		return 0, familyError(id, err)
	}
	if !r.root { // what has lost its parent is nobody's child
		all, err := r.marked()
		if err != nil {
			return 0, familyError(id, err)
		}
		family = append(family, all[id]...)
	}
	first, err := relativeOf(w.process.PID, r.boot)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH): // ended meanwhile
	case err != nil:
		return 0, familyError(id, err)
	case first.identity == w.process:
		family = append([]relative{first}, family...)
	}
	for _, one := range family {
		if !one.stopped {
			running++
		} else if sig == unix.SIGSTOP {
			continue
		}
		err := one.signal(r.boot, sig)
		if err != nil {
			return running, familyError(id, err)
		}
	}
	return running, nil
}
