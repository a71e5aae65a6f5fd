package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// program is what an instance or a task runs.
type program struct {
	image  string
	argv   []string
	env    []string
	volume string
	user   container.User
	// cutOff: without any network.
	cutOff bool
}

// launch starts the process of rec, with its output to out, and watches it. The
// record is written before, and again with the process's identity. If launch
// fails there is no process.
func (r *Runtime) launch(ctx context.Context, rec record, out *os.File, p program) (*watch, error) {
	path, err := r.program(ctx, p.image, p.argv[0])
	if err != nil {
		return nil, err
	}
	if !r.root && p.user != r.user {
		return nil, errs.New(errs.Precondition, "NO_USER", "%s is to run as user %d, and only root can start processes of others", rec.ID, p.user.UID).
			WithHint("run cloned as root, or with data that its own user owns")
	}
	if err := r.save(rec); err != nil {
		return nil, err
	}
	cmd := r.command(rec.ID, path, p)
	cmd.Stdout, cmd.Stderr = out, out
	if err := r.fork(cmd, p.cutOff && r.root); err != nil {
		return nil, errs.New(errs.Internal, "START", "starting %s for %s: %w", path, rec.ID, err)
	}
	rec.Process, err = identify(cmd.Process.Pid, r.boot) // not reaped yet, so it is there
	if err == nil {
		rec.Started = time.Now()
		err = r.save(rec)
	}
	var w *watch
	if err == nil {
		w, err = r.watchChild(rec, cmd)
	}
	if err != nil {
		err = errs.New(errs.Internal, "START", "starting %s for %s: %w", path, rec.ID, err)
		return nil, errors.Join(err, cmd.Process.Kill(), ignoreExit(cmd.Wait()))
	}
	return w, nil
}

// command describes a process. It is not bound to a context: instances outlive
// us.
func (r *Runtime) command(id, path string, p program) *exec.Cmd {
	cmd := exec.Command(path, p.argv[1:]...)
	cmd.Args[0] = p.argv[0]
	cmd.Dir = "/"
	if p.volume != "" {
		cmd.Dir = p.volume
	}
	cmd.Env = append([]string{r.mark(id), "PATH=" + p.image + ":" + system, "HOME=" + cmd.Dir, "LANG=C.UTF-8"}, p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if r.root {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(p.user.UID), Gid: uint32(p.user.GID)}
		// System V shared memory has to end with its processes, and nobody but they
		// should find it: servers on clones of one directory look for theirs by the
		// same key.
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC
	}
	return cmd
}

// fork starts cmd so that it can't gain privileges and, if it is to be cut off,
// in a network namespace of its own. Both it inherits from the thread that
// forks it (prctl(2), unshare(2)), which is never unlocked, so that it ends with
// the goroutine.
func (r *Runtime) fork(cmd *exec.Cmd, cutOff bool) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil && cutOff {
			err = leaveNetwork()
		}
		if err == nil {
			err = cmd.Start()
		}
		result <- err
	}()
	return <-result
}

// leaveNetwork gives the thread a network namespace with nothing in it but a
// loopback interface, which programs talk to themselves over.
func leaveNetwork() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return os.NewSyscallError("ioctl SIOCSIFFLAGS", unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request))
}

// ignoreExit drops the error that only says that a process was killed.
func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}
