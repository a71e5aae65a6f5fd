package process

import (
	"context"
	"errors"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// watchChild waits for a process that we started, notes how it ended and tells
// of it.
func (r *Runtime) watchChild(id string, cmd *exec.Cmd) {
	done := r.begin(id)
	go func() {
		err := cmd.Wait()
		code := 0
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit) && exit.Exited():
			code = exit.ExitCode()
		case errors.As(err, &exit):
			// As shells and Docker say it: 128 and the signal.
			code = 128 + int(exit.Sys().(interface{ Signal() unix.Signal }).Signal())
		case err != nil:
			code = unknownExit
		}
		r.end(id, done, code)
	}()
}

// watchForeign waits for a process that an earlier daemon started.
func (r *Runtime) watchForeign(rec record) error {
	fd, err := unix.PidfdOpen(rec.Process.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		r.end(rec.ID, r.begin(rec.ID), unknownExit)
		return nil
	}
	if err != nil {
		return errs.New(errs.Internal, "PIDFD", "watching process %d of instance %s: %w", rec.Process.PID, rec.ID, err)
	}
	// The number may have been given to another process before we had the
	// descriptor; from now on it can't be.
	alive, err := rec.Process.alive()
	if err != nil || !alive {
		unix.Close(fd)
		if err == nil {
			r.end(rec.ID, r.begin(rec.ID), unknownExit)
		}
		return err
	}
	done := r.begin(rec.ID)
	go func() {
		defer unix.Close(fd)
		for {
			// A pidfd is readable once its process has ended (pidfd_open(2)).
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if !errors.Is(err, unix.EINTR) {
				break
			}
		}
		r.end(rec.ID, done, unknownExit)
	}()
	return nil
}

// begin notes that an instance is being watched.
func (r *Runtime) begin(id string) chan struct{} {
	done := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watched[id] = done
	return done
}

// end notes that an instance's process has ended, and tells of it.
func (r *Runtime) end(id string, done chan struct{}, code int) {
	// A record that is gone was removed on purpose. One that can't be written
	// only costs the exit code: that the process has ended is seen in /proc.
	if rec, err := r.load(id); err == nil {
		rec.Exited, rec.ExitCode = true, code
		_ = r.save(rec)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	close(done)
	for sub := range r.subs {
		select {
		case sub <- container.Event{ID: id}:
		default: // it is behind, and lists now and then
		}
	}
}

// forget drops what is watched of an instance that has been removed.
func (r *Runtime) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.watched, id)
}

// ended returns a channel that is closed once the instance's process has ended.
func (r *Runtime) ended(rec record) (<-chan struct{}, error) {
	r.mu.Lock()
	done, ok := r.watched[rec.ID]
	r.mu.Unlock()
	if ok {
		return done, nil
	}
	if rec.Exited || rec.Process.PID == 0 {
		closed := make(chan struct{})
		close(closed)
		return closed, nil
	}
	if err := r.watchForeign(rec); err != nil {
		return nil, err
	}
	return r.ended(rec)
}

// Events implements container.Runtime.
func (r *Runtime) Events(ctx context.Context) <-chan container.Event {
	sub := make(chan container.Event, 256)
	r.mu.Lock()
	r.subs[sub] = struct{}{}
	r.mu.Unlock()
	go func() {
		<-ctx.Done()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.subs, sub)
		close(sub)
	}()
	return sub
}
