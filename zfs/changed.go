package zfs

import (
	"context"
	"errors"
	"io"
	"math"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/changes"
	"github.com/cloned-db/cloned/storage"
)

var _ storage.Differ = (*Driver)(nil)

// temporaryID stands where a snapshot has its ID, and is none: the snapshot that
// a comparison takes is in nobody's list.
const temporaryID = "_changed"

// tidyTime is how long a comparison's snapshot may take to be destroyed after the
// call's context has ended.
const tidyTime = 30 * time.Second

// Changed compares a volume with a snapshot that it came from. What is compared
// is a snapshot that lives as long as the call, so that nothing moves meanwhile.
// As long, "written" counts from that one: Usage of the volume is too small.
func (d *Driver) Changed(ctx context.Context, since storage.SnapshotRef, volume string) (list []storage.FileChange, err error) {
	if err := storage.CheckID(volume); err != nil {
		return nil, err
	}
	if _, err := d.snapshotName(since); err != nil {
		return nil, err
	}
	if _, err := d.Stat(ctx, volume); err != nil {
		return nil, err
	}
	way, err := d.chain(ctx, since, storage.Own(volume), math.MaxInt64, "volume "+volume)
	if err != nil {
		return nil, err
	}
	temporary := d.temporaryName(volume)
	// Killed in the middle, the command may have made it all the same.
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTime)
		defer cancel()
		if _, swept := d.sweep(ctx, temporary); swept != nil {
			err = errors.Join(err, swept)
		}
	}()
	_, err = d.bear(ctx, "snapshot", temporary)
	if errs.Is(err, errs.Exists) { // of a call that died
		if _, err := d.sweep(ctx, temporary); err != nil {
			return nil, err
		}
		_, err = d.bear(ctx, "snapshot", temporary)
	}
	if err != nil {
		return nil, err
	}
	return d.along(ctx, append(way, link{src: storage.Own(volume), name: temporary}))
}

// ChangedBetween compares two snapshots.
func (d *Driver) ChangedBetween(ctx context.Context, since, until storage.SnapshotRef) ([]storage.FileChange, error) {
	if _, err := d.snapshotName(since); err != nil {
		return nil, err
	}
	found, taken, err := d.findSnapshot(ctx, until)
	if err != nil {
		return nil, err
	}
	way, err := d.chain(ctx, since, until.Source, taken, "snapshot "+until.ID)
	if err != nil || since == until {
		return nil, err
	}
	return d.along(ctx, append(way, link{src: until.Source, name: found.name}))
}

// along compares the first of the snapshots with the last, step by step.
func (d *Driver) along(ctx context.Context, way []link) (list []storage.FileChange, err error) {
	var set changes.Set
	last, err := d.view(ctx, way[0].src, way[0].name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, last.close()) }()
	for _, step := range way[1:] {
		next, err := d.view(ctx, step.src, step.name)
		if err != nil {
			return nil, err
		}
		found, err := d.compare(ctx, last, next)
		err = errors.Join(err, last.close())
		last = next
		if err != nil {
			return nil, err
		}
		set.Then(found)
	}
	return d.measure(ctx, &set, way[0].name, last)
}

// measure says how much was written to the files of which a set tells: a stream
// from the first snapshot to the last has it object by object. ZFS sends what was
// written since, and reads nothing else for it.
func (d *Driver) measure(ctx context.Context, set *changes.Set, since string, until *view) ([]storage.FileChange, error) {
	var bytes map[uint64]int64
	err := d.stream(ctx, "send", func(out io.Reader) (err error) {
		bytes, err = written(out)
		return err
	}, "zfs", "send", "-Lec", "-i", since, until.name)
	if err != nil {
		return nil, err
	}
	var list []storage.FileChange
	err = set.Each(func(rel string, was, is bool) error {
		c := storage.FileChange{Path: rel, Created: !was, Removed: !is}
		if is {
			info, _, err := until.file(rel)
			if err != nil {
				return err
			}
			c.Bytes, c.Size = bytes[info.Ino], info.Size
		}
		list = append(list, c)
		return nil
	})
	return list, err
}

// sweep destroys a comparison's snapshot if it is there and ours.
func (d *Driver) sweep(ctx context.Context, temporary string) (there bool, err error) {
	found, err := d.describe(ctx, temporary, []string{markProperty})
	if errs.Is(err, errs.NotFound) {
		return false, nil
	}
	if err == nil && !found.ours(d.instance) {
		err = foreignError(temporary)
	}
	if err == nil {
		err = d.run(ctx, "destroy", temporary)
	}
	if errs.Is(err, errs.NotFound) {
		return false, nil
	}
	return err == nil, err
}

// sweepAll destroys what comparisons left that died. One that is in use goes with
// the next comparison, or with its volume.
func (d *Driver) sweepAll(ctx context.Context) error {
	found, err := d.tree(ctx, "2", d.parent)
	if err != nil {
		return err
	}
	for _, f := range found {
		if !d.isTemporary(f.name) || !f.ours(d.instance) {
			continue
		}
		if err := d.run(ctx, "destroy", f.name); err != nil && !errs.Is(err, errs.NotFound) && !hasReason(err, reasonBusy) {
			return err
		}
	}
	return nil
}
