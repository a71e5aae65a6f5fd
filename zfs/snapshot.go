package zfs

import (
	"context"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// Snapshot freezes a volume of ours or a foreign dataset.
func (d *Driver) Snapshot(ctx context.Context, src storage.Source, id string) (storage.Snapshot, error) {
	ref := storage.SnapshotRef{Source: src, ID: id}
	name, err := d.snapshotName(ref)
	if err != nil {
		return storage.Snapshot{}, err
	}
	// Neither what is under our parent without our mark, nor what nobody can
	// write to because it is not mounted.
	if src.Foreign != "" {
		_, err = d.ForeignPath(ctx, src.Foreign)
	} else if seen, ok := d.mine.Load(src.Volume); !ok || seen != d.loaded.Load() {
		_, err = d.own(ctx, src.Volume)
	}
	if err != nil {
		return storage.Snapshot{}, err
	}
	created, err := d.bear(ctx, "snapshot", name)
	if err == nil {
		return storage.Snapshot{Ref: ref, Created: created}, nil
	}
	if !errs.Is(err, errs.Exists) {
		return storage.Snapshot{}, err
	}
	found, err := d.describe(ctx, name, volumeProperties)
	if err != nil {
		return storage.Snapshot{}, err
	}
	if !found.ours(d.instance) {
		return storage.Snapshot{}, existsForeign(name)
	}
	return snapshot(ref, found)
}

// snapshot makes the contract's description of a dataset.
func snapshot(ref storage.SnapshotRef, found dataset) (storage.Snapshot, error) {
	created, err := found.created()
	return storage.Snapshot{Ref: ref, Created: created}, err
}

// DestroySnapshot destroys a snapshot whose name and mark are both ours.
func (d *Driver) DestroySnapshot(ctx context.Context, ref storage.SnapshotRef) error {
	name, err := d.snapshotName(ref)
	if err != nil {
		return err
	}
	found, err := d.describe(ctx, name, volumeProperties)
	if err == nil && !found.ours(d.instance) {
		return foreignError(name)
	}
	if err == nil {
		err = d.run(ctx, "destroy", name)
		d.held.Delete(name)
	}
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}
