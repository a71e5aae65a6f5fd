package process

import (
	"context"
	"errors"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync"

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
	// claimed are the IDs for which a process is being started.
	claimed map[string]bool
	// watched are the processes that a goroutine waits for.
	watched     map[string]*watch
	subscribers map[*subscriber]struct{}
}

var _ container.Runtime = (*Runtime)(nil)

// Open returns the Runtime whose records are in cfg.Dir, and watches the
// instances that still run.
func Open(cfg Config) (*Runtime, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, errs.New(errs.Precondition, "RECORDS", "directory of the process runtime: %w", err)
	}
	boot, err := bootID()
	if err != nil {
		return nil, errs.New(errs.Precondition, "PROC", "the process runtime needs /proc: %w", err)
	}
	r := &Runtime{
		dir: cfg.Dir, instanceID: cfg.Instance, boot: boot, root: os.Geteuid() == 0,
		user:    container.User{UID: os.Geteuid(), GID: os.Getegid()},
		claimed: map[string]bool{}, watched: map[string]*watch{}, subscribers: map[*subscriber]struct{}{},
	}
	if r.root {
		if r.user, err = lookupUser("postgres"); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(r.clean(), r.adopt()); err != nil {
		return nil, err
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
		if _, err := r.watch(rec); err != nil {
			return nil, err
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

// CheckSetup implements container.Runtime: processes share nothing.
func (r *Runtime) CheckSetup(context.Context) error { return nil }

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

// Inspect implements container.Runtime.
func (r *Runtime) Inspect(_ context.Context, id string) (container.Instance, error) {
	rec, err := r.load(id)
	if err != nil {
		return container.Instance{}, err
	}
	w, err := r.watch(rec)
	if err != nil {
		return container.Instance{}, err
	}
	in := container.Instance{ID: id, Task: rec.Task, Started: rec.Started}
	switch {
	case w.running():
		in.State = container.Running
		if w.frozen() {
			in.State = container.Frozen
		}
		return in, nil
	case rec.Process.PID == 0 && !rec.Exited:
		return in, nil // the daemon died before it could start it
	}
	// It may have ended since the record was read.
	if rec, err = r.load(id); err != nil {
		return container.Instance{}, err
	}
	in.State, in.ExitCode = container.Exited, rec.exitCode()
	return in, nil
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

// Close implements container.Runtime: instances go on.
func (r *Runtime) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.watched {
		w.leave()
	}
	return nil
}
