package process

import (
	"errors"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
)

// watch is a process that a goroutine waits for. A nil watch stands for none.
type watch struct {
	process identity
	pidfd   *os.File
	// done is closed once the process has ended and that is recorded; code says
	// how it ended.
	done chan struct{}
	code int
	// stopped are the processes of the instance that Freeze has stopped; nil if
	// that is not known.
	stopped atomic.Pointer[[]relative]
}

func (w *watch) running() bool {
	if w == nil {
		return false
	}
	select {
	case <-w.done:
		return false
	default:
		return true
	}
}

// ended returns a channel that is closed once the process has ended.
func (w *watch) ended() <-chan struct{} {
	if w == nil {
		none := make(chan struct{})
		close(none)
		return none
	}
	return w.done
}

func (w *watch) signal(sig unix.Signal) error {
	if err := signal(w.pidfd, sig); err != nil && !errors.Is(err, os.ErrClosed) {
		return errs.New(errs.Denied, "KILL", "sending %s to process %d: %w", unix.SignalName(sig), w.process.PID, err)
	}
	return nil
}

// leave ends the goroutine; the process goes on.
func (w *watch) leave() { _ = w.pidfd.Close() } // closed already if it has ended

// watch returns the watch of a record's process, nil if there is no process any
// more. One that is not being watched was started by an earlier daemon.
func (r *Runtime) watch(rec record) (*watch, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w, ok := r.watched[rec.ID]; ok {
		return w, nil
	}
	if rec.Exited {
		return nil, nil
	}
	pidfd, err := rec.Process.open(r.boot)
	if err != nil {
		return nil, errs.New(errs.Unavailable, "PROC", "looking at process %d of instance %s: %w", rec.Process.PID, rec.ID, err)
	}
	if pidfd == nil {
		return nil, nil
	}
	return r.keepWatch(rec, pidfd, func() int { return unknownExit }), nil
}

// watchChild watches a process that we have just started.
func (r *Runtime) watchChild(rec record, cmd *exec.Cmd) (*watch, error) {
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0) // not reaped yet, so it is the one
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	pidfd, err := newPidfd(fd)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keepWatch(rec, pidfd, func() int { return exitCode(cmd.Wait()) }), nil
}

// exitCode returns the exit code that an *exec.Cmd's Wait tells of.
func exitCode(err error) int {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		if err != nil {
			return unknownExit
		}
		return 0
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()) // as shells and Docker say it
	}
	return exit.ExitCode()
}

// keepWatch starts the goroutine that waits for a process; reap returns its
// exit code once it has ended. It needs r.mu.
func (r *Runtime) keepWatch(rec record, pidfd *os.File, reap func() int) *watch {
	w := &watch{process: rec.Process, pidfd: pidfd, done: make(chan struct{})}
	r.watched[rec.ID] = w
	go func() {
		if err := await(pidfd); err != nil {
			return // we leave; the process goes on
		}
		w.code = reap()
		r.noteExit(rec.ID, w)
		_ = pidfd.Close() // a pidfd has nothing to lose
		close(w.done)
		r.publish(rec.ID)
	}()
	return w
}

// noteExit records how a process ended.
func (r *Runtime) noteExit(id string, w *watch) {
	rec, err := r.load(id)
	if err != nil || rec.Process != w.process {
		return // removed, or of another process by now
	}
	rec.Exited, rec.ExitCode = true, w.code
	// If this fails only the exit code is lost: that the process has ended is
	// seen by its identity.
	_ = r.save(rec)
}

// forget drops the watch of an instance that is removed or started again.
func (r *Runtime) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.watched, id)
}
