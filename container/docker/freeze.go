package docker

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	api "github.com/docker/docker/api/types/container"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// The kernel's files that stop the processes of a cgroup and let them go on:
// freezer.state of version 1 (cgroup-v1/freezer-subsystem of its documentation),
// cgroup.freeze of version 2 (cgroup-v2, "Core Interface Files").
const (
	cgroups   = "/sys/fs/cgroup"
	freezerV1 = "freezer.state"
	freezerV2 = "cgroup.freeze"
	eventsV2  = "cgroup.events"
)

// freezer stops the processes of a container by the kernel's own file. That
// takes a tenth of a millisecond, while the Engine starts a program to pause one,
// and another to go on, and nobody can write as long.
type freezer struct{ dir string }

// freezerOf finds a container's; false where the Engine keeps its cgroups
// elsewhere, or on another host.
func freezerOf(dockerID string) (freezer, bool) {
	if !isDockerID(dockerID) {
		return freezer{}, false
	}
	for _, root := range []string{cgroups + "/freezer", cgroups} {
		for _, dir := range []string{"docker/" + dockerID, "system.slice/docker-" + dockerID + ".scope"} {
			f := freezer{filepath.Join(root, dir)}
			if _, err := os.Stat(f.file()); err == nil {
				return f, true
			}
		}
	}
	return freezer{}, false
}

// file is what is written to.
func (f freezer) file() string {
	if strings.HasPrefix(f.dir, cgroups+"/freezer/") {
		return filepath.Join(f.dir, freezerV1)
	}
	return filepath.Join(f.dir, freezerV2)
}

// set has the processes stop, or go on.
func (f freezer) set(frozen bool) error {
	value := map[bool]string{true: "1", false: "0"}[frozen]
	if strings.HasSuffix(f.file(), freezerV1) {
		value = map[bool]string{true: "FROZEN", false: "THAWED"}[frozen]
	}
	return os.WriteFile(f.file(), []byte(value), 0)
}

// began says that the processes are to stop, done that all have.
func (f freezer) state() (began, done bool, err error) {
	content, err := os.ReadFile(f.file())
	if err != nil {
		return false, false, err
	}
	switch strings.TrimSpace(string(content)) {
	case "FROZEN":
		return true, true, nil
	case "FREEZING":
		return true, false, nil
	case "1":
		content, err = os.ReadFile(filepath.Join(f.dir, eventsV2))
		return true, strings.Contains(string(content), "frozen 1"), err
	}
	return false, false, nil
}

// freeze stops the processes and returns when none of them runs.
func (f freezer) freeze(ctx context.Context) error {
	return container.FreezeInTries("cgroup "+f.dir, func(deadline time.Time) (done bool, err error) {
		if err := f.set(true); err != nil {
			return false, err
		}
		for {
			_, done, err := f.state()
			if err == nil && !done {
				err = ctx.Err()
			}
			if done || err != nil || time.Now().After(deadline) {
				return done && err == nil, err
			}
			container.PauseFreezing()
		}
	}, func() error { return f.set(false) })
}

// isFrozen says whether a container that runs for the Engine is frozen by us.
func isFrozen(dockerID string) bool {
	f, ok := freezerOf(dockerID)
	if !ok {
		return false
	}
	began, _, err := f.state()
	return err == nil && began
}

// release lets a container go on that is frozen by us: the Engine does not know
// that it is, and neither stops nor removes it before. What the Engine has paused
// it deals with itself.
func release(found api.InspectResponse) error {
	f, ok := freezerOf(found.ID)
	if !ok || found.State.Paused {
		return nil
	}
	if began, _, err := f.state(); err != nil || !began {
		return nil // it has ended, or was not frozen
	}
	if err := f.set(false); err != nil {
		return errs.New(errs.Internal, "FREEZER", "thawing container %.12s: %w", found.ID, err)
	}
	return nil
}

// running is a container that was seen to run. frozen says that we have frozen it;
// one that is frozen otherwise may be paused by the Engine.
type running struct {
	id     string
	frozen atomic.Bool
}

// known returns an instance's container if it was seen to run and still does,
// with its freezer; nil if it has to be looked up.
func (r *Runtime) known(id string) (known *running, f freezer, frozen bool) {
	v, ok := r.running.Load(id)
	if !ok {
		return nil, f, false
	}
	known = v.(*running)
	if f, ok = freezerOf(known.id); !ok {
		return nil, f, false
	}
	frozen, _, err := f.state()
	if err != nil {
		return nil, f, false
	}
	return known, f, frozen
}

// note notes that a container was seen to run.
func (r *Runtime) note(id, dockerID string) {
	if v, ok := r.running.Load(id); !ok || v.(*running).id != dockerID {
		r.running.Store(id, &running{id: dockerID})
	}
}

// Freeze implements container.Runtime.
func (r *Runtime) Freeze(ctx context.Context, id string) error {
	if known, f, frozen := r.known(id); known != nil && !frozen && f.freeze(ctx) == nil {
		known.frozen.Store(true)
		return nil
	}
	found, err := r.inspect(ctx, id)
	if err != nil {
		return err
	}
	switch state(found) {
	case container.Frozen:
		return nil
	case container.Running:
	default:
		return errs.New(errs.Precondition, container.ReasonExited, "instance %s does not run", id)
	}
	if f, ok := freezerOf(found.ID); ok && f.freeze(ctx) == nil {
		return nil
	}
	// Otherwise we may not, or it has just ended: the Engine says which.
	err = r.api.ContainerPause(ctx, found.ID)
	if !cerrdefs.IsConflict(err) {
		return classify("freezing "+id, err)
	}
	// It is not running, or somebody else was quicker.
	switch now, err := r.Inspect(ctx, id); {
	case err != nil:
		return err
	case now.State == container.Frozen:
		return nil
	default:
		return errs.New(errs.Precondition, container.ReasonExited, "instance %s does not run", id)
	}
}

// Thaw implements container.Runtime.
func (r *Runtime) Thaw(ctx context.Context, id string) error {
	if known, f, frozen := r.known(id); known != nil {
		if !frozen || known.frozen.CompareAndSwap(true, false) && f.set(false) == nil {
			return nil
		}
	}
	found, err := r.inspect(ctx, id)
	if err != nil {
		return err
	}
	return r.thaw(ctx, found)
}

// thaw lets a container go on that is frozen, by the Engine or by us.
func (r *Runtime) thaw(ctx context.Context, found api.InspectResponse) error {
	if !found.State.Paused {
		return release(found)
	}
	err := r.api.ContainerUnpause(ctx, found.ID)
	if cerrdefs.IsConflict(err) { // somebody else was quicker
		return nil
	}
	return classify("thawing container "+found.ID[:12], err)
}
