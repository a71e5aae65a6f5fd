package zfs

import (
	"context"
	"path/filepath"

	gozfs "github.com/mistifyio/go-zfs/v3"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/command"
	"github.com/cloned-db/cloned/storage"
)

// Config says where the driver works, and as whom.
type Config struct {
	// Parent is the dataset under which the volumes live, such as
	// "tank/cloned". Open creates it with Properties if it does not exist and
	// what is above it does; the properties of one that exists are left alone.
	Parent string
	// Instance is the ID of this installation of cloned: the value of the birth
	// mark, of the form of a storage ID.
	Instance string
	// MustExist says that the parent holds volumes: if it is not there, something is
	// wrong, and another one is not made.
	MustExist bool
	// Run runs the commands; nil for one that reports to nobody.
	Run *command.Runner
}

// parentProperties is what the driver wants to know of the parent.
var parentProperties = []string{"type", "guid", "mountpoint", "canmount", "mounted"}

// Open checks that the parent can hold volumes, creating it if need be.
//
// errs.Invalid for a bad Config; errs.Unavailable if OpenZFS or the pool is not
// there; errs.Precondition if the parent has no mount point or is not a file
// system.
func Open(ctx context.Context, cfg Config) (*Driver, error) {
	if err := storage.CheckID(cfg.Instance); err != nil {
		return nil, errs.Fieldf("instance", "%w", err)
	}
	d := &Driver{parent: cfg.Parent, pool: poolOf(cfg.Parent), instance: cfg.Instance, runner: cfg.Run}
	if err := checkDataset("parent", cfg.Parent, maxName-len("/")-maxID-d.snapshotSuffix()); err != nil {
		return nil, err
	}
	if d.runner == nil {
		d.runner = &command.Runner{}
	}
	loaded, err := d.poolLoad(ctx)
	if err != nil {
		return nil, err
	}
	d.loaded.Store(&loaded)

	parent, err := d.openParent(ctx, cfg.MustExist)
	if err != nil {
		return nil, err
	}
	d.parentGUID, d.mountpoint = parent.value("guid"), parent.value("mountpoint")
	if err := d.sweepAll(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// openParent returns the parent, mounted, with an absolute mount point.
func (d *Driver) openParent(ctx context.Context, mustExist bool) (dataset, error) {
	parent, err := d.findParent(ctx, mustExist)
	if err != nil {
		return dataset{}, err
	}
	if kind := parent.value("type"); kind != gozfs.DatasetFilesystem {
		return dataset{}, errs.New(errs.Precondition, reasonMount, "dataset %s is a %s, not a file system", d.parent, kind)
	}
	if at := parent.value("mountpoint"); !filepath.IsAbs(at) {
		return dataset{}, errs.New(errs.Precondition, reasonMount, "dataset %s has the mount point %q, so volumes under it have no path", d.parent, at).
			WithHint("zfs set mountpoint=/%s %s", d.parent, d.parent)
	}
	// One that is not to be mounted (canmount=off, noauto) is a common way to
	// group datasets, and its children are mounted all the same. One that is,
	// and is not yet, would later hide the volumes mounted below it.
	if parent.value("canmount") == "on" && parent.value("mounted") == "no" {
		return parent, d.run(ctx, "mount", d.parent)
	}
	return parent, nil
}

// findParent describes the parent, after creating it if it may be absent and is.
func (d *Driver) findParent(ctx context.Context, mustExist bool) (dataset, error) {
	parent, err := d.describeParent(ctx)
	if mustExist && hasReason(err, reasonUnseen) {
		return parent, errs.New(errs.Unavailable, reasonParent, "dataset %s, which holds volumes of this installation, is not there: %w", d.parent, err).
			WithHint("import the pool that it is in (zpool import), or restore the dataset")
	}
	if !hasReason(err, reasonUnseen) {
		return parent, err
	}
	// The library has no contexts, which is why only this rare call and Health
	// go through it.
	if _, err := await(ctx, d.runner, func() (*gozfs.Dataset, error) {
		return gozfs.CreateFilesystem(d.parent, Properties())
	}); err != nil {
		return dataset{}, classify(err)
	}
	if parent, err = d.describeParent(ctx); err != nil {
		return dataset{}, err
	}
	if filepath.IsAbs(parent.value("mountpoint")) {
		return parent, nil
	}
	// Inherited "none" or "legacy": nobody chose that for this dataset.
	if err := d.run(ctx, "set", "mountpoint=/"+d.parent, d.parent); err != nil {
		return dataset{}, err
	}
	return d.describeParent(ctx)
}

// describeParent describes the parent; reasonUnseen if there is none. It can't
// use describe, whose certainty rests on the parent.
func (d *Driver) describeParent(ctx context.Context) (dataset, error) {
	out, err := d.runner.Read(ctx, "get", getArgv(parentProperties, d.parent)...)
	if err != nil {
		return dataset{}, classify(err)
	}
	return parseOne(out, parentProperties, d.parent)
}

// await calls f, which can't be cancelled, and leaves it behind when ctx ends, or
// when it takes longer than a command may.
func await[T any](ctx context.Context, r *command.Runner, f func() (T, error)) (T, error) {
	ctx, cancel := r.Limited(ctx)
	defer cancel()
	type answer struct {
		value T
		err   error
	}
	got := make(chan answer, 1)
	go func() {
		value, err := f()
		got <- answer{value, err}
	}()
	select {
	case a := <-got:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
