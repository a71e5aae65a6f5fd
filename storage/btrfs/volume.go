package btrfs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/tree"
	"github.com/cloned-db/cloned/storage"
	"github.com/cloned-db/cloned/storage/internal/base"
)

// Create makes an empty subvolume.
func (d *Driver) Create(ctx context.Context, id string) (storage.Volume, error) {
	if err := d.begin(ctx, id); err != nil {
		return storage.Volume{}, err
	}
	v, err := d.make(id, "create", uuid{}, func(dir *os.File) error { return createSubvolume(dir, id) })
	return v, base.Classify(err, "create "+id)
}

// Clone makes a writable snapshot of a snapshot.
func (d *Driver) Clone(ctx context.Context, from storage.SnapshotRef, id string) (storage.Volume, error) {
	place, err := d.snapshotPlace(from)
	if err != nil {
		return storage.Volume{}, err
	}
	if err := d.begin(ctx, id); err != nil {
		return storage.Volume{}, err
	}
	src, info, err := openSnapshot(place)
	if err != nil {
		return storage.Volume{}, base.Classify(err, "clone "+id)
	}
	defer src.Close()
	v, err := d.make(id, "clone", info.uuid, func(dir *os.File) error { return createSnapshot(src, dir, id, false) })
	if err != nil {
		return storage.Volume{}, base.Classify(err, "clone "+id)
	}
	v.Origin = &from
	return v, nil
}

// begin starts a method on a volume.
func (d *Driver) begin(ctx context.Context, id string) error {
	if err := storage.CheckID(id); err != nil {
		return err
	}
	return d.base.Begin(ctx)
}

// make makes a volume, unless the same is there already: one whose parent has
// that UUID.
func (d *Driver) make(id, verb string, parent uuid, do func(dir *os.File) error) (storage.Volume, error) {
	if err := d.in(d.base.Join("v"), verb, do); err != nil && !errors.Is(err, fs.ErrExist) {
		return storage.Volume{}, err
	}
	v, info, err := d.volume(id)
	if err != nil {
		return storage.Volume{}, base.Taken(err)
	}
	if info.parentUUID != parent {
		return storage.Volume{}, errs.New(errs.Exists, "VOLUME_EXISTS", "volume %s exists with another origin", id)
	}
	return v, nil
}

// in opens a directory of ours for an ioctl.
func (d *Driver) in(path, verb string, do func(dir *os.File) error) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return d.observed(verb, func() error { return do(dir) })
}

// Stat describes a volume.
func (d *Driver) Stat(ctx context.Context, id string) (storage.Volume, error) {
	if err := d.begin(ctx, id); err != nil {
		return storage.Volume{}, err
	}
	v, _, err := d.volume(id)
	return v, d.base.Still(ctx, base.Classify(err, "stat "+id))
}

// Usage measures a volume; it looks at each of its files. What a clone takes
// besides, for the filesystem's own records, is some tens of KiB.
func (d *Driver) Usage(ctx context.Context, id string) (storage.Usage, error) {
	v, err := d.Stat(ctx, id)
	if err != nil {
		return storage.Usage{}, err
	}
	size, err := tree.Measure(ctx, v.Path)
	return storage.Usage(size), base.Classify(err, "usage of "+id)
}

// SnapshotUsage measures a snapshot; it looks at each of its files.
func (d *Driver) SnapshotUsage(ctx context.Context, ref storage.SnapshotRef) (storage.Usage, error) {
	place, err := d.snapshotPlace(ref)
	if err != nil {
		return storage.Usage{}, err
	}
	if err := d.base.Begin(ctx); err != nil {
		return storage.Usage{}, err
	}
	what := "usage of snapshot " + ref.ID + " of " + ref.Source.Volume + ref.Source.Foreign
	f, _, err := openSnapshot(place)
	if err != nil {
		return storage.Usage{}, base.Classify(err, what)
	}
	defer f.Close()
	size, err := tree.Measure(ctx, place)
	return storage.Usage(size), base.Classify(err, what)
}

// Destroy destroys a volume, with the subvolumes that somebody made in it.
func (d *Driver) Destroy(ctx context.Context, id string) error {
	if err := d.begin(ctx, id); err != nil {
		return err
	}
	if _, _, err := d.volume(id); err != nil && !errs.Is(err, errs.NotFound) {
		return base.Classify(err, "destroy "+id)
	}
	// The directory of its snapshots goes only if it is empty.
	err := os.Remove(d.base.Join("s", id))
	if errors.Is(err, unix.ENOTEMPTY) {
		return base.HasSnapshots(id)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = d.sweep(id)
	}
	if err == nil {
		err = d.destroy(d.base.Join("v", id))
	}
	return base.Classify(err, "destroy "+id)
}

// destroy destroys the subvolume at path, if it is there.
func (d *Driver) destroy(path string) error {
	err := d.in(filepath.Dir(path), "destroy", func(dir *os.File) error {
		err := destroySubvolume(dir, filepath.Base(path))
		if errors.Is(err, unix.ENOTEMPTY) {
			if err = destroyNested(path); err == nil {
				err = destroySubvolume(dir, filepath.Base(path))
			}
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// volume looks a volume up. Errors with a kind: NotFound, and Precondition for
// what is not ours.
func (d *Driver) volume(id string) (storage.Volume, subvolInfo, error) {
	path := d.base.Join("v", id)
	f, info, err := openSubvolume(path)
	if err != nil {
		return storage.Volume{}, info, err
	}
	defer f.Close()
	return storage.Volume{ID: id, Path: path, Created: info.created()}, info, nil
}

// openSubvolume opens a subvolume in a place of ours; errors as of volume.
func openSubvolume(path string) (*os.File, subvolInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, subvolInfo{}, base.Absent(path)
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil, subvolInfo{}, base.Foreign(path)
	case err != nil:
		return nil, subvolInfo{}, err
	}
	info, err := describe(f)
	if errors.Is(err, errNotSubvolume) {
		err = base.Foreign(path)
	}
	if err != nil {
		return nil, info, errors.Join(err, f.Close())
	}
	return f, info, nil
}
