package zfs

import (
	"context"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// Create makes an empty volume.
func (d *Driver) Create(ctx context.Context, volume string) (storage.Volume, error) {
	name, err := d.volumeName(volume)
	if err != nil {
		return storage.Volume{}, err
	}
	created, err := d.bear(ctx, "create", name)
	if errs.Is(err, errs.Exists) {
		return d.adopt(ctx, volume, name, "-")
	}
	return d.born(volume, created, nil, err)
}

// Clone makes a volume with the content of a snapshot, by one command.
func (d *Driver) Clone(ctx context.Context, from storage.SnapshotRef, volume string) (storage.Volume, error) {
	return d.clone(ctx, from, volume)
}

// clone is Clone of a volume with properties of its own.
func (d *Driver) clone(ctx context.Context, from storage.SnapshotRef, volume string, properties ...string) (storage.Volume, error) {
	origin, err := d.snapshotName(from)
	if err != nil {
		return storage.Volume{}, err
	}
	name, err := d.volumeName(volume)
	if err != nil {
		return storage.Volume{}, err
	}
	var args []string
	for _, property := range properties {
		args = append(args, "-o", property)
	}
	created, err := d.bear(ctx, "clone", append(args, origin, name)...)
	if errs.Is(err, errs.Exists) {
		return d.adopt(ctx, volume, name, origin)
	}
	return d.born(volume, created, &from, err)
}

// born describes a volume that was just made, err being how that went.
func (d *Driver) born(volume string, created time.Time, origin *storage.SnapshotRef, err error) (storage.Volume, error) {
	if err == nil {
		err = d.checkMounted(volume)
	}
	if err != nil {
		return storage.Volume{}, err
	}
	d.mine.Store(volume, d.loaded.Load())
	return storage.Volume{ID: volume, Path: d.path(volume), Origin: origin, Created: created}, nil
}

// adopt describes a volume that exists, for a call that was to make it from
// origin; errs.Exists if it is not what that call would have made.
func (d *Driver) adopt(ctx context.Context, volume, name, origin string) (storage.Volume, error) {
	found, err := d.describe(ctx, name, detailProperties)
	if err != nil {
		return storage.Volume{}, err
	}
	if !found.ours(d.instance) {
		if found, err = d.finish(ctx, found, origin); err != nil {
			return storage.Volume{}, err
		}
	}
	if found.value("origin") != origin {
		return storage.Volume{}, errs.New(errs.Exists, reasonTaken, "volume %s exists with the origin %s, not %s", volume, found.value("origin"), origin)
	}
	return d.use(ctx, volume, found)
}

// Stat describes a volume and mounts it if it is not.
func (d *Driver) Stat(ctx context.Context, volume string) (storage.Volume, error) {
	found, err := d.own(ctx, volume)
	if err != nil {
		return storage.Volume{}, err
	}
	return d.use(ctx, volume, found)
}

// own describes the dataset of a volume; errs.NotFound if it is absent or
// unfinished, ReasonForeign if it is not ours.
func (d *Driver) own(ctx context.Context, volume string) (dataset, error) {
	name, err := d.volumeName(volume)
	if err != nil {
		return dataset{}, err
	}
	loaded := d.loaded.Load()
	found, err := d.describe(ctx, name, detailProperties)
	switch {
	case err != nil:
		return found, err
	case found.ours(d.instance):
		d.mine.Store(volume, loaded)
		return found, nil
	}
	unfinished, err := d.unfinished(ctx, found)
	if err != nil {
		return found, err
	}
	if unfinished {
		return found, errs.New(errs.NotFound, reasonUnfinished, "volume %s was never finished", volume)
	}
	return found, foreignError(name)
}

// use mounts a volume if it is not mounted, and returns it.
func (d *Driver) use(ctx context.Context, volume string, found dataset) (storage.Volume, error) {
	if found.value("mounted") != "yes" {
		if err := d.mount(ctx, volume, found.name); err != nil {
			return storage.Volume{}, err
		}
	}
	if err := d.checkMounted(volume); err != nil {
		return storage.Volume{}, err
	}
	return d.volume(volume, found)
}

// mount mounts a volume. Somebody else may do so first, which is as good.
func (d *Driver) mount(ctx context.Context, volume, name string) error {
	if err := d.run(ctx, "mount", name); err != nil && d.checkMounted(volume) != nil {
		return err
	}
	return nil
}

// volume makes the contract's description of a dataset.
func (d *Driver) volume(id string, found dataset) (storage.Volume, error) {
	created, err := found.created()
	if err != nil {
		return storage.Volume{}, err
	}
	v := storage.Volume{ID: id, Path: d.path(id), Created: created}
	if origin, known := d.snapshotRef(found.value("origin")); known {
		v.Origin = &origin
	}
	return v, nil
}

// checkMounted returns nil if a file system is mounted at the volume's path. It
// costs two system calls, and keeps a database off the disk below when somebody
// changed a mount point that was right at Open.
func (d *Driver) checkMounted(volume string) error {
	path := d.path(volume)
	var at, above unix.Stat_t
	err := unix.Stat(path, &at)
	if err == nil {
		err = unix.Stat(filepath.Dir(path), &above)
	}
	if err == nil && at.Dev != above.Dev {
		return nil
	}
	e := errs.New(errs.Unavailable, reasonMount, "volume %s is not mounted at %s", volume, path).
		WithHint("check the properties mountpoint and canmount of %s/%s; after changing the mount point of %s, restart cloned", d.parent, volume, d.parent)
	e.Err = err
	return e
}

// Destroy destroys a volume that bears our mark, or is unfinished. The mark is
// read first, by a command of its own: IDs are never used again, so that nobody
// else's dataset can take the name in between, and `zfs destroy` without options
// takes nothing along.
func (d *Driver) Destroy(ctx context.Context, volume string) error {
	defer d.mine.Delete(volume)
	found, err := d.own(ctx, volume)
	if err == nil || hasReason(err, reasonUnfinished) {
		err = d.run(ctx, "destroy", found.name)
	}
	if hasReason(err, storage.ReasonHasDependents) {
		// Perhaps on a snapshot that a comparison left.
		there, swept := d.sweep(ctx, d.temporaryName(volume))
		switch {
		case there:
			err = d.run(ctx, "destroy", found.name)
		case swept != nil && !hasReason(swept, storage.ReasonForeign):
			err = swept
		}
	}
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}
