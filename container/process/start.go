package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// Start implements container.Runtime.
func (r *Runtime) Start(ctx context.Context, spec container.Spec) error {
	rec, err := r.load(spec.ID)
	switch {
	case errs.Is(err, errs.NotFound):
	case err != nil:
		return err
	default:
		if in, err := r.instance(rec); err != nil || in.State == container.Running {
			return err
		}
	}
	if err := portFree(spec.PublishAddr, spec.PublishPort); err != nil {
		return err
	}
	path, err := program(spec.Image, spec.Argv[0])
	if err != nil {
		return err
	}
	log, err := r.openLog(spec.ID)
	if err != nil {
		return err
	}
	defer log.Close()
	rec = record{ID: spec.ID, StopSignal: spec.StopSignal}
	if err := r.save(rec); err != nil {
		return err
	}
	cmd := r.command(path, spec.ID, spec.Image, spec.Argv, spec.Env, spec.Volume, spec.User, false)
	cmd.Stdout, cmd.Stderr = log, log
	if err := r.launch(cmd, &rec); err != nil {
		return errors.Join(err, r.Remove(ctx, spec.ID))
	}
	r.watchChild(spec.ID, cmd)
	return nil
}

// command describes the process of an instance or task. It is not bound to a
// context: instances outlive us.
func (r *Runtime) command(path, id, image string, argv, env []string, volume string, user container.User, cutOff bool) *exec.Cmd {
	cmd := exec.Command(path, argv[1:]...)
	cmd.Args[0] = argv[0]
	cmd.Dir = volume
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.Env = append([]string{r.mark(id), "PATH=" + image + ":/usr/bin:/bin", "HOME=" + cmd.Dir, "LANG=C.UTF-8", "TZ=UTC"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if r.root {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(user.UID), Gid: uint32(user.GID)}
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
		if cutOff {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
		}
	}
	return cmd
}

// launch starts cmd so that it can't gain privileges, and completes its record.
func (r *Runtime) launch(cmd *exec.Cmd, rec *record) error {
	failed := make(chan error)
	go func() {
		// A child inherits no_new_privs from the thread that forks it
		// (prctl(2)). The thread is not unlocked, so it ends with the goroutine.
		runtime.LockOSThread()
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = cmd.Start()
		}
		failed <- err
	}()
	if err := <-failed; err != nil {
		return errs.New(errs.Internal, "START", "starting %s: %w", cmd.Path, err)
	}
	// It can't be reaped before we wait for it, so its start time is to be had.
	id, err := identify(cmd.Process.Pid, r.boot)
	if err == nil {
		rec.Process, rec.Started = id, time.Now()
		err = r.save(*rec)
	}
	if err != nil {
		return errors.Join(err, cmd.Process.Kill(), ignoreExit(cmd.Wait()))
	}
	return nil
}

// ignoreExit drops the error that only says that a process was killed.
func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// portFree returns errs.Exhausted if something listens on the port.
func portFree(addr string, port int) error {
	if port == 0 {
		return nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort(addr, strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return errs.New(errs.Exhausted, container.ReasonPortTaken, "port %d of %s is taken by another process", port, addr).
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
	ended, err := r.ended(rec)
	if err != nil {
		return err
	}
	return container.Poll(ctx, ended, probe, func() error {
		code := unknownExit
		if rec, err := r.load(id); err == nil {
			code = rec.ExitCode
		}
		return errs.New(errs.Precondition, container.ReasonExited, "instance %s ended with exit code %d before it was ready", id, code).
			WithLog(r.tail(id, tailLines))
	})
}

// Run implements container.Runtime.
func (r *Runtime) Run(ctx context.Context, task container.Task) error {
	path, err := program(task.Image, task.Argv[0])
	if err != nil {
		return err
	}
	rec := record{ID: task.ID, Task: true}
	if err := r.save(rec); err != nil {
		return err
	}
	cmd := r.command(path, task.ID, task.Image, task.Argv, task.Env, task.Volume, task.User, task.Network == container.NetworkNone)
	lines := container.NewLines(task.Output)
	read, write, err := os.Pipe()
	if err != nil {
		return errors.Join(errs.New(errs.Internal, "START", "pipe: %w", err), r.Remove(ctx, task.ID))
	}
	cmd.Stdout, cmd.Stderr = write, write
	err = r.launch(cmd, &rec)
	write.Close()
	if err != nil {
		read.Close()
		return errors.Join(err, r.Remove(ctx, task.ID))
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(lines, read)
		copied <- err
	}()
	r.watchChild(task.ID, cmd)
	ended, err := r.ended(rec)
	if err != nil {
		return err
	}
	cancelled := false
	select {
	case <-ended:
	case <-ctx.Done():
		cancelled = true
		if err := rec.Process.kill(func() { <-ended }); err != nil {
			return err
		}
	}
	// What it left running (only possible without a PID namespace) may hold the
	// pipe: its output no longer matters.
	select {
	case err = <-copied:
	case <-time.After(time.Second):
		read.Close()
		<-copied
	}
	read.Close()
	lines.Flush()
	final, loadErr := r.load(task.ID)
	if err := errors.Join(err, loadErr, r.Remove(context.WithoutCancel(ctx), task.ID)); err != nil {
		return err
	}
	if cancelled {
		return errs.New(errs.Unavailable, "CANCELLED", "task %s: %w", task.ID, ctx.Err())
	}
	if final.ExitCode != 0 {
		return errs.New(errs.Precondition, container.ReasonTaskFailed, "task %s ended with exit code %d", fmt.Sprint(task.Argv[0]), final.ExitCode).
			WithLog(lines.Last())
	}
	return nil
}
