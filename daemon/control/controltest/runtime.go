package controltest

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// Runtime is a container.Runtime in memory.
type Runtime struct{ *Session }

var _ container.Runtime = Runtime{}

func (r Runtime) Name() string { return "fake" }

func (r Runtime) Capabilities() container.Capabilities {
	return container.Capabilities{Isolated: true, Limits: true, OwnShm: true}
}

func (r Runtime) Setup(context.Context) error {
	return r.effect("runtime.Setup", "", func(*World) error { return nil })
}

func (r Runtime) CheckSetup(context.Context) error {
	return r.call("runtime.CheckSetup", "", func(*World) error { return nil })
}

func (r Runtime) Teardown(context.Context) error { return nil }

func (r Runtime) Check(context.Context) error {
	return r.call("runtime.Check", "", func(*World) error { return nil })
}

func (r Runtime) EnsureImage(_ context.Context, image string) (id string, err error) {
	return "id-of-" + image, r.effect("runtime.EnsureImage", image, func(*World) error { return nil })
}

func (r Runtime) FindImage(_ context.Context, image string) (id string, err error) {
	return image, r.call("runtime.FindImage", image, func(*World) error { return nil })
}

func (r Runtime) DefaultUser() container.User { return container.User{UID: 999, GID: 999} }

func (r Runtime) VolumePath(host string) string { return host }

func (r Runtime) Listen(s container.Spec) (string, int) { return s.PublishAddr, s.PublishPort }

// mustBeIdle notes a broken promise if something runs on the volume.
func (w *World) mustBeIdle(doing, volume string) {
	for id, i := range w.instances {
		if i.state == container.Running && i.spec.Volume == pathOf(volume) {
			w.breaks("%s %s while %s runs on it", doing, volume, id)
		}
	}
}

func (r Runtime) Start(_ context.Context, spec container.Spec) error {
	return r.exclusive("runtime.Start", spec.ID, func(w *World) error {
		i := w.instances[spec.ID]
		if i != nil && i.state == container.Running {
			return nil
		}
		if i == nil {
			i = &instance{spec: spec}
			w.instances[spec.ID] = i
		}
		if w.volumes[volumeAt(i.spec.Volume)] == nil {
			w.breaks("start %s without its volume %q", spec.ID, i.spec.Volume)
		}
		w.mustBeIdle("start on", volumeAt(i.spec.Volume))
		for id, other := range w.instances {
			if other.state == container.Running && other.spec.PublishPort == i.spec.PublishPort {
				return errs.New(errs.Exhausted, container.ReasonPortTaken, "port %d: %s has it", i.spec.PublishPort, id)
			}
		}
		i.state, i.exit, i.oom, i.started = container.Running, 0, false, time.Now()
		return nil
	})
}

func (r Runtime) WaitReady(ctx context.Context, id string, probe func(context.Context) error) error {
	for {
		err := r.call("runtime.WaitReady", id, func(w *World) error {
			if i := w.instances[id]; i == nil || i.state != container.Running {
				e := errs.New(errs.Precondition, container.ReasonExited, "instance %s ended", id)
				return e.WithLog([]string{"FATAL: fake"})
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err = probe(ctx); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errs.New(errs.Unavailable, "NOT_READY", "instance %s: %w", id, err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (i *instance) describe(id string) container.Instance {
	return container.Instance{ID: id, Task: i.task, State: i.state, ExitCode: i.exit, OOMKilled: i.oom, Started: i.started}
}

func (r Runtime) Inspect(_ context.Context, id string) (out container.Instance, err error) {
	err = r.call("runtime.Inspect", id, func(w *World) error {
		i := w.instances[id]
		if i == nil {
			return errs.New(errs.NotFound, "NOT_FOUND", "instance %s", id)
		}
		out = i.describe(id)
		return nil
	})
	return out, err
}

func (r Runtime) Stop(_ context.Context, id string, _ time.Duration) error {
	return r.exclusive("runtime.Stop", id, func(w *World) error {
		if i := w.instances[id]; i != nil {
			i.state = container.Exited
			w.tell(id)
		}
		return nil
	})
}

func (r Runtime) Freeze(_ context.Context, id string) error {
	return r.turn("runtime.Freeze", id, container.Running, container.Frozen)
}

func (r Runtime) Thaw(_ context.Context, id string) error {
	return r.turn("runtime.Thaw", id, container.Frozen, container.Running)
}

// turn changes an instance's state, if it has that.
func (r Runtime) turn(name, id string, from, to container.State) error {
	return r.exclusive(name, id, func(w *World) error {
		i := w.instances[id]
		if i == nil {
			return errs.New(errs.NotFound, "NOT_FOUND", "instance %s", id)
		}
		if i.state == from {
			i.state = to
		}
		return nil
	})
}

func (r Runtime) Remove(_ context.Context, id string) error {
	return r.exclusive("runtime.Remove", id, func(w *World) error {
		delete(w.instances, id)
		return nil
	})
}

func (r Runtime) List(context.Context) (out []container.Instance, err error) {
	err = r.call("runtime.List", "", func(w *World) error {
		for id, i := range w.instances {
			out = append(out, i.describe(id))
		}
		return nil
	})
	return out, err
}

func (r Runtime) Logs(_ context.Context, id string, _ int, _ bool, out io.Writer) error {
	return r.call("runtime.Logs", id, func(w *World) error {
		if w.instances[id] == nil {
			return errs.New(errs.NotFound, "NOT_FOUND", "instance %s", id)
		}
		_, err := fmt.Fprintln(out, "log of", id)
		return err
	})
}

// Run runs a task, which is there while it runs and stays when the session is
// killed meanwhile. What it does to its volume, if it has one, is the engine's to
// say: Argv is "set CONTENT" or "add CONTENT".
func (r Runtime) Run(_ context.Context, t container.Task) error {
	err := r.exclusive("runtime.Run", t.ID, func(w *World) error {
		v := w.volumes[volumeAt(t.Volume)]
		switch {
		case t.Volume == "":
		case v == nil:
			w.breaks("task %s without its volume %q", t.ID, t.Volume)
			return errs.New(errs.Internal, "TASK", "no volume")
		case t.Argv[0] == "set":
			v.content = t.Argv[1]
		default:
			v.content += t.Argv[1]
		}
		w.instances[t.ID] = &instance{spec: container.Spec{ID: t.ID, Volume: t.Volume}, task: true, state: container.Running}
		return nil
	})
	if err != nil {
		return err
	}
	return r.Remove(context.Background(), t.ID)
}

func (r Runtime) Events(ctx context.Context) <-chan container.Event {
	c := make(chan container.Event, 64)
	w := r.World
	w.mu.Lock()
	w.listeners[c] = struct{}{}
	w.mu.Unlock()
	context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.listeners, c)
		close(c)
	})
	return c
}

func (r Runtime) Close() error { return nil }
