package controltest

import (
	"context"
	"fmt"
	"strings"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// Engine is a database.Engine whose data is one string.
type Engine struct{ *Session }

var _ database.Engine = Engine{}

func (e Engine) Name() string { return "postgres" }

func (e Engine) DefaultImage(_ string, major int) string { return fmt.Sprintf("postgres:%d", major) }

func (e Engine) Role() string { return "clone" }

func (e Engine) CheckSource(database.Source) error { return nil }

func (e Engine) CheckSettings(map[string]string) error { return nil }

func (e Engine) CheckImage(ctx context.Context, rt container.Runtime, task, _ string, _ int) error {
	if err := e.effect("engine.CheckImage", "", func(*World) error { return nil }); err != nil {
		return err
	}
	return rt.Run(ctx, container.Task{ID: task})
}

func facts() database.Facts {
	return database.Facts{Major: 15, SystemID: "7", Owner: container.User{UID: 999, GID: 999}, CleanShutdown: true}
}

func (e Engine) Probe(_ context.Context, src database.Source) (database.Facts, int64, error) {
	return facts(), int64(len(src.Directory)), e.call("engine.Probe", "", func(*World) error { return nil })
}

func (e Engine) Inspect(_ context.Context, path, _ string) (database.Facts, error) {
	return facts(), e.call("engine.Inspect", path, func(w *World) error {
		if w.volumes[volumeAt(path)] == nil && !strings.HasPrefix(path, "/foreign/") {
			return errs.New(errs.Precondition, database.ReasonNotADataDirectory, "%s", path)
		}
		return nil
	})
}

func (e Engine) Fill(ctx context.Context, rt container.Runtime, req database.FillRequest) error {
	if err := e.effect("engine.Fill", "", func(*World) error { return nil }); err != nil {
		return err
	}
	req.Progress(database.Progress{Phase: "copy", Done: 1, Total: 2})
	return rt.Run(ctx, container.Task{ID: req.Volume.TaskID + "-fill", Volume: req.Volume.Path, Argv: []string{"set", "data of " + req.Source.Directory}})
}

func (e Engine) Prepare(ctx context.Context, rt container.Runtime, req database.PrepareRequest) (database.Prepared, error) {
	prepared := database.Prepared{Database: "shop", Databases: []string{"shop"}, SizeBytes: 1}
	if err := e.effect("engine.Prepare", "", func(*World) error { return nil }); err != nil {
		return prepared, err
	}
	return prepared, rt.Run(ctx, container.Task{ID: req.Volume.TaskID + "-prepare", Volume: req.Volume.Path, Argv: []string{"add", ", prepared"}})
}

func (e Engine) Spec(req database.StartRequest) container.Spec {
	return container.Spec{
		ID: req.ID, Image: req.Volume.Image, Volume: req.Volume.Path, User: req.Facts.Owner, Limits: req.Volume.Limits,
		PublishAddr: req.PublishAddr, PublishPort: req.PublishPort, Port: 5432, StopSignal: "SIGINT",
	}
}

func (e Engine) ReadAhead(database.Target) {}

func (e Engine) Ready(_ context.Context, t database.Target) error {
	return e.effect("engine.Ready", t.ID, func(w *World) error {
		if i := w.instances[t.ID]; i == nil || i.state != container.Running {
			return errs.New(errs.Unavailable, "NOT_READY", "%s", t.ID)
		}
		if t.VolumePath != pathOf(t.ID) {
			w.breaks("ready %s: volume path %q", t.ID, t.VolumePath)
		}
		if t.Password != "" {
			w.volumes[t.ID].password = t.Password.Reveal()
		}
		return nil
	})
}

func (e Engine) Claim(_ context.Context, t database.Target) error {
	return e.effect("engine.Claim", t.ID, func(w *World) error {
		i := w.instances[t.ID]
		if i == nil || i.state != container.Running || i.spec.PublishPort != t.Port {
			return errs.New(errs.Conflict, database.ReasonWrongInstance, "%s does not answer on port %d", t.ID, t.Port)
		}
		if w.volumes[t.ID].password != t.Password.Reveal() {
			return errs.New(errs.Conflict, database.ReasonWrongInstance, "%s has another password", t.ID)
		}
		return nil
	})
}

// Relations says that each file is a table.
func (e Engine) Relations(_ context.Context, t database.Target, files []database.File) (out []database.Relation, err error) {
	err = e.call("engine.Relations", t.ID, func(w *World) error {
		if i := w.instances[t.ID]; i == nil || i.state != container.Running || t.VolumePath != pathOf(t.ID) {
			return errs.New(errs.Unavailable, "ADMIN", "%s does not answer", t.ID)
		}
		for _, f := range files {
			out = append(out, database.Relation{Database: "shop", Name: f.Path, Kind: "table", Bytes: f.Bytes, Size: f.Size})
		}
		return nil
	})
	return out, err
}

func (e Engine) Checkpoint(_ context.Context, t database.Target) error {
	return e.effect("engine.Checkpoint", t.ID, func(w *World) error {
		if t.VolumePath != pathOf(t.ID) {
			w.breaks("checkpoint of %s: volume path %q", t.ID, t.VolumePath)
		}
		if i := w.instances[t.ID]; i == nil || i.state != container.Running {
			return errs.New(errs.Unavailable, "ADMIN", "%s does not answer", t.ID)
		}
		return nil
	})
}

func (e Engine) ConnectionURL(t database.Target) string {
	return fmt.Sprintf("fake://%s:%s@%s:%d/%s", t.Role, t.Password.Reveal(), t.Addr, t.Port, t.Database)
}
