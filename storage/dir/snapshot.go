package dir

import (
	"context"
	"path/filepath"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/tree"
	"github.com/cloned-db/cloned/storage"
	"github.com/cloned-db/cloned/storage/internal/base"
)

// Snapshot copies a volume; nothing may write to it meanwhile.
func (d *Driver) Snapshot(ctx context.Context, src storage.Source, id string) (storage.Snapshot, error) {
	ref := storage.SnapshotRef{Source: src, ID: id}
	if err := check(ref); err != nil {
		return storage.Snapshot{}, err
	}
	if err := d.base.Begin(ctx); err != nil {
		return storage.Snapshot{}, err
	}
	what := "snapshot " + id + " of " + src.Volume
	s, err := d.snapshot(ref)
	if err == nil {
		return s, nil
	}
	if !errs.Is(err, errs.NotFound) {
		return storage.Snapshot{}, base.Classify(base.Taken(err), what)
	}
	v, err := d.volume(src.Volume)
	if err != nil {
		return storage.Snapshot{}, base.Classify(err, what)
	}
	if err := d.freeze(ctx, v, ref); err != nil {
		return storage.Snapshot{}, base.Classify(err, what)
	}
	s, err = d.snapshot(ref)
	return s, base.Classify(err, what)
}

// freeze makes the snapshot, and sees to it that a power failure can take
// neither it nor its content away.
func (d *Driver) freeze(ctx context.Context, v storage.Volume, ref storage.SnapshotRef) error {
	parent := filepath.Dir(d.snapshotDir(ref))
	if err := base.Mkdir(parent, 0o700); err != nil {
		return err
	}
	err := d.build(d.snapshotWork(ref), "snapshot", func(dir string) error {
		if err := tree.Copy(ctx, v.Path, filepath.Join(dir, content), d.reflink); err != nil {
			return err
		}
		return persist(dir)
	})
	if err != nil {
		return err
	}
	return persist(parent)
}

// DestroySnapshot removes a snapshot. Clones of it live on.
func (d *Driver) DestroySnapshot(ctx context.Context, ref storage.SnapshotRef) error {
	if err := check(ref); err != nil {
		return err
	}
	if err := d.base.Begin(ctx); err != nil {
		return err
	}
	what := "destroy snapshot " + ref.ID + " of " + ref.Source.Volume
	if _, err := d.snapshot(ref); err != nil && !errs.Is(err, errs.NotFound) {
		return base.Classify(err, what)
	}
	return base.Classify(d.remove(d.snapshotWork(ref)), what)
}

// snapshot looks a snapshot up; errors as of volume.
func (d *Driver) snapshot(ref storage.SnapshotRef) (storage.Snapshot, error) {
	info, err := ours(d.snapshotDir(ref), "snapshot "+ref.ID+" of volume "+ref.Source.Volume)
	if err != nil {
		return storage.Snapshot{}, err
	}
	return storage.Snapshot{Ref: ref, Created: info.ModTime()}, nil
}
