package controltest

import (
	"context"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// Driver is a storage.Driver in memory, with dependents as on ZFS.
type Driver struct{ *Session }

var (
	_ storage.Driver = Driver{}
	_ storage.Differ = Driver{}
)

func (d Driver) Name() string { return "fake" }

func (d Driver) Capabilities() storage.Capabilities {
	return storage.Capabilities{Thin: true, Foreign: true, Origins: true, Atomic: true}
}

func (w *World) describe(id string) storage.Volume {
	v := w.volumes[id]
	return storage.Volume{ID: id, Path: pathOf(id), Origin: v.origin, Created: v.created}
}

func (d Driver) Create(_ context.Context, id string) (v storage.Volume, err error) {
	err = d.exclusive("driver.Create", id, func(w *World) error {
		if w.volumes[id] == nil {
			w.volumes[id] = &volume{}
		}
		v = w.describe(id)
		return storage.CheckID(id)
	})
	return v, err
}

func (d Driver) Snapshot(_ context.Context, src storage.Source, id string) (s storage.Snapshot, err error) {
	ref := storage.SnapshotRef{Source: src, ID: id}
	err = d.exclusive("driver.Snapshot", src.Volume+src.Foreign, func(w *World) error {
		content, ok := w.foreign[src.Foreign]
		if v := w.volumes[src.Volume]; v != nil {
			content, ok = v.content, true
		}
		if !ok {
			return errs.New(errs.NotFound, "NOT_FOUND", "%+v", src)
		}
		w.mustBeIdle("snapshot", src.Volume)
		if _, exists := w.snapshots[ref]; !exists {
			w.snapshots[ref] = content
		}
		s = storage.Snapshot{Ref: ref}
		return ref.Check()
	})
	return s, err
}

func (d Driver) Clone(_ context.Context, from storage.SnapshotRef, id string) (v storage.Volume, err error) {
	err = d.exclusive("driver.Clone", id, func(w *World) error {
		content, ok := w.snapshots[from]
		if !ok {
			return errs.New(errs.NotFound, "NOT_FOUND", "snapshot %+v", from)
		}
		if w.volumes[id] == nil {
			w.volumes[id] = &volume{content: content, origin: &from}
		}
		v = w.describe(id)
		return storage.CheckID(id)
	})
	return v, err
}

func (d Driver) Destroy(_ context.Context, id string) error {
	return d.exclusive("driver.Destroy", id, func(w *World) error {
		for ref := range w.snapshots {
			if ref.Source.Volume == id {
				return errs.New(errs.Precondition, storage.ReasonHasDependents, "volume %s has snapshot %s", id, ref.ID)
			}
		}
		w.mustBeIdle("destroy", id)
		delete(w.volumes, id)
		return nil
	})
}

func (d Driver) DestroySnapshot(_ context.Context, ref storage.SnapshotRef) error {
	return d.exclusive("driver.DestroySnapshot", ref.Source.Volume+ref.Source.Foreign+"@"+ref.ID, func(w *World) error {
		for id, v := range w.volumes {
			if v.origin != nil && *v.origin == ref {
				return errs.New(errs.Precondition, storage.ReasonHasDependents, "volume %s descends from %+v", id, ref)
			}
		}
		delete(w.snapshots, ref)
		return nil
	})
}

// Changed tells of the one file that a volume has, "data".
func (d Driver) Changed(_ context.Context, since storage.SnapshotRef, id string) (changes []storage.FileChange, err error) {
	err = d.exclusive("driver.Changed", id, func(w *World) error {
		v := w.volumes[id]
		if v == nil {
			return errs.New(errs.NotFound, "NOT_FOUND", "volume %s", id)
		}
		changes, err = w.compare(since, id, v.content)
		return err
	})
	return changes, err
}

func (d Driver) ChangedBetween(_ context.Context, since, until storage.SnapshotRef) (changes []storage.FileChange, err error) {
	err = d.call("driver.ChangedBetween", until.ID, func(w *World) error {
		content, ok := w.snapshots[until]
		if !ok {
			return errs.New(errs.NotFound, "NOT_FOUND", "snapshot %+v", until)
		}
		changes, err = w.compare(since, until.Source.Volume, content)
		return err
	})
	return changes, err
}

// compare compares what is or was in a volume with a snapshot that it has to
// descend from. Which of two snapshots of a volume is the older is not known.
func (w *World) compare(since storage.SnapshotRef, id, content string) ([]storage.FileChange, error) {
	before, ok := w.snapshots[since]
	if !ok {
		return nil, errs.New(errs.NotFound, "NOT_FOUND", "snapshot %+v", since)
	}
	for at := storage.Own(id); at != since.Source; {
		v := w.volumes[at.Volume]
		if v == nil || v.origin == nil {
			return nil, storage.NotAncestor(since, id)
		}
		if *v.origin == since {
			break
		}
		at = v.origin.Source
	}
	if content == before {
		return nil, nil
	}
	return []storage.FileChange{{Path: "data", Bytes: int64(len(content)), Size: int64(len(content))}}, nil
}

func (d Driver) Stat(_ context.Context, id string) (v storage.Volume, err error) {
	err = d.call("driver.Stat", id, func(w *World) error {
		if w.volumes[id] == nil {
			return errs.New(errs.NotFound, "NOT_FOUND", "volume %s", id)
		}
		v = w.describe(id)
		return nil
	})
	return v, err
}

func (d Driver) List(context.Context, []string) (inv storage.Inventory, err error) {
	err = d.call("driver.List", "", func(w *World) error {
		for id := range w.volumes {
			inv.Volumes = append(inv.Volumes, w.describe(id))
		}
		for ref := range w.snapshots {
			inv.Snapshots = append(inv.Snapshots, storage.Snapshot{Ref: ref})
		}
		return nil
	})
	return inv, err
}

func (d Driver) Usage(_ context.Context, id string) (u storage.Usage, err error) {
	return u, d.call("driver.Usage", id, func(w *World) error {
		if w.volumes[id] == nil {
			return errs.New(errs.NotFound, "NOT_FOUND", "volume %s", id)
		}
		u.Logical = int64(len(w.volumes[id].content))
		u.Unique = u.Logical
		return nil
	})
}

func (d Driver) SnapshotUsage(_ context.Context, ref storage.SnapshotRef) (u storage.Usage, err error) {
	return u, d.call("driver.SnapshotUsage", ref.ID, func(w *World) error {
		content, ok := w.snapshots[ref]
		if !ok {
			return errs.New(errs.NotFound, "NOT_FOUND", "snapshot %v", ref)
		}
		u.Logical = int64(len(content))
		return nil
	})
}

func (d Driver) Space(context.Context) (s storage.Space, err error) {
	err = d.call("driver.Space", "", func(w *World) error {
		s = storage.Space{Total: 1 << 40, Free: w.free}
		return nil
	})
	return s, err
}

func (d Driver) ForeignPath(_ context.Context, name string) (path string, err error) {
	err = d.call("driver.ForeignPath", name, func(w *World) error {
		if _, ok := w.foreign[name]; !ok {
			return errs.Fieldf("source", "there is no dataset %s", name)
		}
		path = "/foreign/" + name
		return nil
	})
	return path, err
}
