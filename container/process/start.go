package process

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// Start implements container.Runtime.
func (r *Runtime) Start(ctx context.Context, spec container.Spec) error {
	if err := spec.Check(); err != nil {
		return err
	}
	release, err := r.claim(spec.ID)
	if err != nil {
		return err
	}
	defer release()
	rec, err := r.load(spec.ID)
	again := err == nil
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	if rec.Task {
		return errs.New(errs.Exists, "NAME_TAKEN", "%s is the ID of a task", spec.ID)
	}
	if again {
		switch w, err := r.watch(rec); {
		case err != nil:
			return err
		case w.running() && w.frozen():
			return r.thaw(spec.ID, w)
		case w.running():
			return nil
		}
		if err := r.killLeft(spec.ID); err != nil {
			return err
		}
		r.forget(spec.ID)
	}
	if err := portFree(spec.PublishAddr, spec.PublishPort); err != nil {
		return err
	}
	log, err := r.openLog(spec.ID)
	if err != nil {
		return err
	}
	defer log.Close()
	_, err = r.launch(ctx, record{ID: spec.ID, StopSignal: spec.StopSignal}, log, program{
		image: spec.Image, argv: spec.Argv, env: spec.Env, volume: spec.Volume, user: spec.User,
	})
	if err != nil && !again {
		err = errors.Join(err, r.erase(spec.ID))
	}
	return err
}

// claim keeps others from starting a process for the ID until release.
func (r *Runtime) claim(id string) (release func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.claimed[id] {
		return nil, errs.New(errs.Conflict, "STARTING", "%s is being started by another call", id)
	}
	r.claimed[id] = true
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.claimed, id)
	}, nil
}

// portFree returns errs.Exhausted if something listens on the port.
func portFree(addr string, port int) error {
	if port == 0 {
		return nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort(addr, strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return errs.New(errs.Exhausted, container.ReasonPortTaken, "port %d on %s is taken by another program", port, addr).
			WithHint("free it, or choose another port")
	}
	if err != nil {
		return errs.New(errs.Precondition, "PUBLISH", "publishing port %d on %s: %w", port, addr, err)
	}
	return l.Close()
}

// WaitReady implements container.Runtime.
func (r *Runtime) WaitReady(ctx context.Context, id string, probe func(context.Context) error) error {
	rec, err := r.load(id)
	if err != nil {
		return err
	}
	w, err := r.watch(rec)
	if err != nil {
		return err
	}
	return container.Poll(ctx, w.ended(), probe, func() error {
		code := rec.exitCode()
		if w != nil {
			code = w.code
		}
		lines := container.NewLines(nil)
		if err := r.Logs(ctx, id, lastLines, false, lines); err != nil {
			return err
		}
		lines.Flush()
		return errs.New(errs.Precondition, container.ReasonExited, "instance %s ended before it was ready: exit code %d", id, code).
			WithLog(lines.Last())
	})
}

// pipeGrace is how long the output of a task is waited for after its end: what
// it left running, where it has no PID namespace, may keep the pipe open.
const pipeGrace = time.Second

// Run implements container.Runtime.
func (r *Runtime) Run(ctx context.Context, task container.Task) error {
	if err := task.Check(); err != nil {
		return err
	}
	release, err := r.claim(task.ID)
	if err != nil {
		return err
	}
	defer release()
	if _, err := r.load(task.ID); !errs.Is(err, errs.NotFound) {
		if err == nil {
			err = errs.New(errs.Exists, "NAME_TAKEN", "%s is there already", task.ID)
		}
		return err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return errs.New(errs.Internal, "START", "starting task %s: %w", task.ID, err)
	}
	defer read.Close()
	w, err := r.launch(ctx, record{ID: task.ID, Task: true}, write, program{
		image: task.Image, argv: task.Argv, env: task.Env, volume: task.Volume, user: task.User,
		cutOff: task.Network == container.NetworkNone,
	})
	write.Close()
	release() // from here on the record keeps the ID
	if err != nil {
		return errors.Join(err, r.erase(task.ID))
	}
	lines := container.NewLines(task.Output)
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(lines, read)
		copied <- err
	}()
	select {
	case <-w.done:
	case <-ctx.Done():
		err = errors.Join(errs.New(errs.Unavailable, "CANCELLED", "task %s: %w", task.ID, ctx.Err()), r.kill(task.ID, w))
	}
	grace := time.NewTimer(pipeGrace)
	defer grace.Stop()
	var lost error
	select {
	case lost = <-copied:
	case <-grace.C:
		read.Close()
		<-copied
	}
	lines.Flush()
	if lost != nil {
		err = errors.Join(err, errs.New(errs.Internal, "OUTPUT", "reading the output of task %s: %w", task.ID, lost))
	}
	if err == nil && w.code != 0 {
		err = errs.New(errs.Precondition, container.ReasonTaskFailed, "task %s (%s) failed: exit code %d", task.ID, task.Argv[0], w.code).
			WithLog(lines.Last())
	}
	return errors.Join(err, r.Remove(context.WithoutCancel(ctx), task.ID))
}
