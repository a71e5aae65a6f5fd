package zfs

import (
	"context"
	"slices"

	"github.com/cloned-db/cloned/storage"
)

// link is a snapshot on the way from one state to another.
type link struct {
	src  storage.Source
	name string
}

// snapshotProperties is what the driver wants to know of a single snapshot:
// createtxg says in which order snapshots were taken.
var snapshotProperties = []string{markProperty, "createtxg", "used", "logicalreferenced"}

// findSnapshot describes a snapshot of ours.
func (d *Driver) findSnapshot(ctx context.Context, ref storage.SnapshotRef) (found dataset, taken int64, err error) {
	name, err := d.snapshotName(ref)
	if err != nil {
		return dataset{}, 0, err
	}
	found, err = d.describe(ctx, name, snapshotProperties)
	if err == nil && !found.ours(d.instance) {
		err = foreignError(name)
	}
	if err == nil {
		taken, _, err = found.numbers("createtxg", "used")
	}
	return found, taken, err
}

// chain returns the way from the snapshot since to a source as of a transaction
// group: since, the snapshots that were cloned, one after the other. ReasonNotAncestor
// if there is none.
//
// Each step is one that `zfs diff` takes; of longer ones it takes only some, by
// an accident of names.
func (d *Driver) chain(ctx context.Context, since storage.SnapshotRef, of storage.Source, asOf int64, what string) ([]link, error) {
	older, taken, err := d.findSnapshot(ctx, since)
	if err != nil {
		return nil, err
	}
	var way []link
	for of != since.Source {
		if of.Foreign != "" {
			return nil, storage.NotAncestor(since, what)
		}
		volume, err := d.own(ctx, of.Volume)
		if err != nil {
			return nil, err
		}
		origin, known := d.snapshotRef(volume.value("origin"))
		if !known {
			return nil, storage.NotAncestor(since, what)
		}
		way = append(way, link{src: origin.Source, name: volume.value("origin")})
		if _, asOf, err = d.findSnapshot(ctx, origin); err != nil {
			return nil, err
		}
		of = origin.Source
	}
	if taken > asOf {
		return nil, storage.NotAncestor(since, what)
	}
	if len(way) == 0 || way[len(way)-1].name != older.name {
		way = append(way, link{src: since.Source, name: older.name})
	}
	slices.Reverse(way)
	return way, nil
}

// SnapshotUsage says what a snapshot takes. Unique is "used": what only this one
// refers to; what two snapshots share counts for neither. Both are as of the last
// transaction group.
func (d *Driver) SnapshotUsage(ctx context.Context, ref storage.SnapshotRef) (storage.Usage, error) {
	found, _, err := d.findSnapshot(ctx, ref)
	if err != nil {
		return storage.Usage{}, err
	}
	unique, logical, err := found.numbers("used", "logicalreferenced")
	return storage.Usage{Unique: unique, Logical: logical}, err
}
