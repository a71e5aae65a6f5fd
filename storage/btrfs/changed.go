package btrfs

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/cloned-db/cloned/storage"
	"github.com/cloned-db/cloned/storage/internal/base"
)

var _ storage.Differ = (*Driver)(nil)

// Changed compares a volume with a snapshot that it came from. It takes another
// snapshot for the time being: that writes out what this volume's programs have
// in memory, where a sync would write out all volumes', and what is compared
// doesn't move.
func (d *Driver) Changed(ctx context.Context, since storage.SnapshotRef, volume string) ([]storage.FileChange, error) {
	place, err := d.snapshotPlace(since)
	if err != nil {
		return nil, err
	}
	if err := d.begin(ctx, volume); err != nil {
		return nil, err
	}
	list, err := d.changed(ctx, since, place, volume)
	return list, base.Classify(err, "changes of "+volume)
}

func (d *Driver) changed(ctx context.Context, since storage.SnapshotRef, place, volume string) (list []storage.FileChange, err error) {
	from, info, err := openSubvolume(d.base.Join("v", volume))
	if err != nil {
		return nil, err
	}
	defer from.Close()
	older, err := d.ancestor(ctx, since, place, info.uuid, now, "volume "+volume)
	if err != nil {
		return nil, err
	}
	if err := d.sweep(volume); err != nil {
		return nil, err
	}
	err = d.in(d.base.Join("t"), "snapshot", func(dir *os.File) error { return createSnapshot(from, dir, volume, true) })
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.sweep(volume)) }()
	f, until, err := openSnapshot(d.base.Join("t", volume))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return diff(ctx, f, older, until)
}

// ChangedBetween compares two snapshots.
func (d *Driver) ChangedBetween(ctx context.Context, since, until storage.SnapshotRef) ([]storage.FileChange, error) {
	sincePlace, err := d.snapshotPlace(since)
	if err != nil {
		return nil, err
	}
	untilPlace, err := d.snapshotPlace(until)
	if err != nil {
		return nil, err
	}
	if err := d.base.Begin(ctx); err != nil {
		return nil, err
	}
	list, err := d.between(ctx, since, sincePlace, until.ID, untilPlace)
	return list, base.Classify(err, "changes of snapshot "+until.ID)
}

func (d *Driver) between(ctx context.Context, since storage.SnapshotRef, sincePlace, id, untilPlace string) ([]storage.FileChange, error) {
	f, until, err := openSnapshot(untilPlace)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	older, err := d.ancestor(ctx, since, sincePlace, until.parentUUID, until.otransid, "snapshot "+id)
	if err != nil {
		return nil, err
	}
	return diff(ctx, f, older, until)
}

// ancestor describes the snapshot since; errs.Precondition if a state, called
// what, did not come from it: that of a subvolume as of a transaction.
func (d *Driver) ancestor(ctx context.Context, since storage.SnapshotRef, place string, of uuid, asOf uint64, what string) (subvolInfo, error) {
	f, info, err := openSnapshot(place)
	if err != nil {
		return info, err
	}
	defer f.Close()
	ok, err := descends(ctx, f, of, asOf, info)
	if err == nil && !ok {
		err = storage.NotAncestor(since, what)
	}
	return info, err
}

// sweep destroys the snapshot that a comparison made, if it is there: this one's,
// or that of one that died.
func (d *Driver) sweep(volume string) error {
	place := d.base.Join("t", volume)
	if _, err := os.Lstat(place); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return d.destroy(place)
}

// sweepAll does so for all volumes.
func (d *Driver) sweepAll() error {
	return base.Each(d.base.Join("t"), storage.CheckID, func(volume string) error {
		f, _, err := openSnapshot(d.base.Join("t", volume))
		if err != nil {
			return err
		}
		return errors.Join(f.Close(), d.sweep(volume))
	})
}
