package process

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
)

// Stop implements container.Runtime.
func (r *Runtime) Stop(ctx context.Context, id string, grace time.Duration) error {
	rec, err := r.load(id)
	if err != nil {
		return err
	}
	w, err := r.watch(rec)
	if err != nil || !w.running() {
		return err
	}
	sig := unix.SIGTERM
	if rec.StopSignal != "" {
		if sig = unix.SignalNum(rec.StopSignal); sig == 0 {
			return errs.New(errs.Internal, "SIGNAL", "instance %s: there is no signal %q", id, rec.StopSignal)
		}
	}
	if err := w.signal(sig); err != nil {
		return err
	}
	if w.frozen() { // it gets the signal when it goes on
		if err := r.thaw(id, w); err != nil {
			return err
		}
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-w.done:
		return r.killLeft(id)
	case <-timer.C:
		return r.kill(id, w)
	case <-ctx.Done():
		return errs.New(errs.Unavailable, "CANCELLED", "stopping instance %s: %w", id, ctx.Err())
	}
}

// Remove implements container.Runtime.
func (r *Runtime) Remove(_ context.Context, id string) error {
	rec, err := r.load(id)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	w, err := r.watch(rec)
	if err != nil {
		return err
	}
	if w.running() {
		err = r.kill(id, w)
	} else if err = r.killLeft(id); err == nil {
		err = r.removeShm(id, rec.Process.PID)
	}
	if err != nil {
		return err
	}
	r.forget(id)
	return r.erase(id)
}
