package process

import (
	"context"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// Config says where a Runtime keeps what it knows.
type Config struct {
	// Dir holds a record and a log for each instance; made if it is absent.
	Dir string
	// Instance is the ID of the daemon's installation.
	Instance string
}

// Runtime runs instances as plain processes.
type Runtime struct {
	dir        string
	instanceID string
	boot       string
	root       bool
	user       container.User

	mu sync.Mutex
	// watched are the processes that a goroutine waits for: closed when it ends.
	watched map[string]chan struct{}
	subs    map[chan container.Event]struct{}
}

var _ container.Runtime = (*Runtime)(nil)

// Open returns the Runtime whose records are in cfg.Dir, and watches the
// instances that still run.
func Open(cfg Config) (*Runtime, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, errs.New(errs.Internal, "RECORDS", "directory of the process runtime: %w", err)
	}
	boot, err := bootID()
	if err != nil {
		return nil, errs.New(errs.Internal, "PROC", "the process runtime needs /proc: %w", err)
	}
	r := &Runtime{
		dir: cfg.Dir, instanceID: cfg.Instance, boot: boot, root: os.Geteuid() == 0,
		user:    container.User{UID: os.Geteuid(), GID: os.Getegid()},
		watched: map[string]chan struct{}{}, subs: map[chan container.Event]struct{}{},
	}
	if r.root {
		if r.user, err = lookupUser("postgres"); err != nil {
			return nil, err
		}
	}
	ids, err := r.ids()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		rec, err := r.load(id)
		if err != nil {
			return nil, err
		}
		in, err := r.instance(rec)
		if err != nil {
			return nil, err
		}
		if in.State == container.Running {
			if rec, err = r.load(id); err != nil { // instance may have found its process
				return nil, err
			}
			if err := r.watchForeign(rec); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// lookupUser finds the user that the distribution's packages run servers as.
func lookupUser(name string) (container.User, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return container.User{}, errs.New(errs.Precondition, "NO_USER", "PostgreSQL does not run as root, and this host has no user %q: %w", name, err).
			WithHint("install PostgreSQL from your distribution, or create the user")
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return container.User{}, err
	}
	gid, err := strconv.Atoi(u.Gid)
	return container.User{UID: uid, GID: gid}, err
}

// Name implements container.Runtime.
func (r *Runtime) Name() string { return "process" }

// Capabilities implements container.Runtime: none.
func (r *Runtime) Capabilities() container.Capabilities { return container.Capabilities{} }

// Setup implements container.Runtime: it keeps logs bounded.
func (r *Runtime) Setup(context.Context) error { return r.boundLogs() }

// Teardown implements container.Runtime.
func (r *Runtime) Teardown(context.Context) error {
	ids, err := r.ids()
	if err == nil && len(ids) > 0 {
		return errs.New(errs.Precondition, "IN_USE", "instances are left: %s", strings.Join(ids, ", "))
	}
	return err
}

// Check implements container.Runtime.
func (r *Runtime) Check(context.Context) error {
	_, err := r.ids()
	return err
}

// DefaultUser implements container.Runtime: the user "postgres" for root,
// otherwise who we are.
func (r *Runtime) DefaultUser() container.User { return r.user }

// VolumePath implements container.Runtime: processes see the host's paths.
func (r *Runtime) VolumePath(hostPath string) string { return hostPath }

// Listen implements container.Runtime: the published port itself.
func (r *Runtime) Listen(spec container.Spec) (addr string, port int) {
	return spec.PublishAddr, spec.PublishPort
}

// EnsureImage implements container.Runtime: an image is a directory of programs.
func (r *Runtime) EnsureImage(_ context.Context, image string) (id string, err error) {
	info, err := os.Stat(image)
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil || !filepath.IsAbs(image) {
		return "", errs.New(errs.Precondition, container.ReasonImageMissing, "image %q: not an absolute path of a directory of programs on this host", image).
			WithHint("without Docker an image is a directory such as /usr/lib/postgresql/15/bin: install that version")
	}
	return image, nil
}

// program finds argv[0] in the image.
func program(image, name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	for _, dir := range []string{image, "/usr/bin", "/bin"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", errs.New(errs.Precondition, container.ReasonImageMissing, "image %q has no program %q", image, name)
}

// Inspect implements container.Runtime.
func (r *Runtime) Inspect(_ context.Context, id string) (container.Instance, error) {
	rec, err := r.load(id)
	if err != nil {
		return container.Instance{}, err
	}
	return r.instance(rec)
}

// List implements container.Runtime.
func (r *Runtime) List(ctx context.Context) ([]container.Instance, error) {
	ids, err := r.ids()
	if err != nil {
		return nil, err
	}
	list := make([]container.Instance, 0, len(ids))
	for _, id := range ids {
		in, err := r.Inspect(ctx, id)
		if errs.Is(err, errs.NotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, in)
	}
	return list, nil
}

// Stop implements container.Runtime.
func (r *Runtime) Stop(ctx context.Context, id string, grace time.Duration) error {
	rec, err := r.load(id)
	if err != nil {
		return err
	}
	in, err := r.instance(rec)
	if err != nil || in.State != container.Running {
		return err
	}
	if rec, err = r.load(id); err != nil {
		return err
	}
	ended, err := r.ended(rec)
	if err != nil {
		return err
	}
	signal := syscall.SIGTERM
	if rec.StopSignal == "SIGINT" {
		signal = syscall.SIGINT
	}
	if err := syscall.Kill(rec.Process.PID, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return errs.New(errs.Denied, "KILL", "stopping process %d of instance %s: %w", rec.Process.PID, id, err)
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
	case <-ctx.Done():
		return errs.New(errs.Unavailable, "STOP", "stopping instance %s: %w", id, ctx.Err())
	}
	return rec.Process.kill(func() { <-ended })
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
	in, err := r.instance(rec)
	if err != nil {
		return err
	}
	if in.State == container.Running {
		if rec, err = r.load(id); err != nil {
			return err
		}
		ended, err := r.ended(rec)
		if err != nil {
			return err
		}
		if err := rec.Process.kill(func() { <-ended }); err != nil {
			return err
		}
	}
	r.forget(id)
	// The log first: what has a record is found again.
	for _, path := range []string{r.logPath(id), r.recordPath(id)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return errs.New(errs.Internal, "RECORD", "removing instance %s: %w", id, err)
		}
	}
	return nil
}

// Close implements container.Runtime: instances go on.
func (r *Runtime) Close() error { return nil }
