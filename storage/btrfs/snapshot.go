package btrfs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
	"github.com/cloned-db/cloned/storage/internal/base"
)

// Snapshot makes a read-only snapshot of a volume or of a foreign subvolume.
func (d *Driver) Snapshot(ctx context.Context, src storage.Source, id string) (storage.Snapshot, error) {
	ref := storage.SnapshotRef{Source: src, ID: id}
	place, err := d.snapshotPlace(ref)
	if err != nil {
		return storage.Snapshot{}, err
	}
	if err := d.base.Begin(ctx); err != nil {
		return storage.Snapshot{}, err
	}
	s, err := d.freeze(ref, place)
	return s, base.Classify(err, "snapshot "+id+" of "+src.Volume+src.Foreign)
}

func (d *Driver) freeze(ref storage.SnapshotRef, place string) (storage.Snapshot, error) {
	from, source, err := d.openSource(ref.Source)
	if err != nil {
		return storage.Snapshot{}, err
	}
	defer from.Close()
	if err := base.Mkdir(filepath.Dir(place), 0o700); err != nil {
		return storage.Snapshot{}, err
	}
	err = d.in(filepath.Dir(place), "snapshot", func(dir *os.File) error {
		return createSnapshot(from, dir, ref.ID, true)
	})
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return storage.Snapshot{}, err
	}
	f, info, err := openSnapshot(place)
	if err != nil {
		return storage.Snapshot{}, base.Taken(err)
	}
	defer f.Close()
	if info.parentUUID != source.uuid {
		return storage.Snapshot{}, errs.New(errs.Exists, "SNAPSHOT_EXISTS",
			"there is a snapshot %s of another subvolume that was at the same path", ref.ID)
	}
	return storage.Snapshot{Ref: ref, Created: info.created()}, nil
}

func (d *Driver) openSource(src storage.Source) (*os.File, subvolInfo, error) {
	if src.Foreign != "" {
		return d.openForeign(src.Foreign)
	}
	return openSubvolume(d.base.Join("v", src.Volume))
}

// DestroySnapshot destroys a snapshot. Clones of it live on.
func (d *Driver) DestroySnapshot(ctx context.Context, ref storage.SnapshotRef) error {
	place, err := d.snapshotPlace(ref)
	if err != nil {
		return err
	}
	if err := d.base.Begin(ctx); err != nil {
		return err
	}
	f, _, err := openSnapshot(place)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err == nil {
		err = errors.Join(f.Close(), d.destroy(place))
	}
	return base.Classify(err, "destroy snapshot "+ref.ID+" of "+ref.Source.Volume+ref.Source.Foreign)
}

// snapshotPlace returns where a snapshot is, or errs.Invalid.
func (d *Driver) snapshotPlace(ref storage.SnapshotRef) (string, error) {
	if err := ref.Check(); err != nil {
		return "", err
	}
	if ref.Source.Foreign == "" {
		return d.base.Join("s", ref.Source.Volume, ref.ID), nil
	}
	name, err := encodeForeign(ref.Source.Foreign)
	if err != nil {
		return "", err
	}
	return d.base.Join("f", name, ref.ID), nil
}

// openSnapshot opens a snapshot; errors as of openSubvolume.
func openSnapshot(place string) (*os.File, subvolInfo, error) {
	f, info, err := openSubvolume(place)
	if err == nil && !info.readOnly() {
		return nil, info, errors.Join(base.Foreign(place), f.Close())
	}
	return f, info, err
}
