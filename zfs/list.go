package zfs

import (
	"context"
	"slices"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// List describes what bears our mark under the parent and in the foreign
// datasets. A foreign dataset that is certainly absent holds nothing of ours.
//
// A name that is not one we would give is left out, mark or not: what can't be
// named can't be destroyed by mistake.
func (d *Driver) List(ctx context.Context, foreign []string) (storage.Inventory, error) {
	loaded := d.loaded.Load()
	// Depth: volumes and the parent's own snapshots 1, volumes' snapshots 2.
	found, err := d.tree(ctx, "2", d.parent)
	if err != nil {
		return storage.Inventory{}, err
	}
	for _, name := range foreign {
		if err := d.checkForeign(name); err != nil {
			return storage.Inventory{}, err
		}
		snapshots, err := d.tree(ctx, "1", name)
		if err != nil && !errs.Is(err, errs.NotFound) {
			return storage.Inventory{}, err
		}
		found = append(found, snapshots...)
	}
	// A pool that is exported while it is being listed ends the list, and zfs
	// takes that for its regular end.
	if err := d.fence(ctx, loaded); err != nil {
		return storage.Inventory{}, err
	}
	return d.inventory(found)
}

// tree describes a dataset, and what is down to a depth below it. An answer that
// says nothing of the dataset itself is none.
func (d *Driver) tree(ctx context.Context, depth, name string) ([]dataset, error) {
	out, err := d.read(ctx, "get", getArgv(volumeProperties, "-t", "filesystem,snapshot", "-d", depth, name)...)
	if err != nil {
		return nil, err
	}
	found, err := parseGet(out, volumeProperties)
	if err == nil && !slices.ContainsFunc(found, func(f dataset) bool { return f.name == name }) {
		err = errs.New(errs.Internal, reasonOutput, "zfs get told of what is below %s, and not of %s", name, name)
	}
	return found, err
}

// inventory picks what is ours. The same foreign dataset may be named twice.
func (d *Driver) inventory(found []dataset) (storage.Inventory, error) {
	var inv storage.Inventory
	for _, f := range found {
		if !f.ours(d.instance) {
			continue
		}
		if id, ok := d.volumeID(f.name); ok {
			v, err := d.volume(id, f)
			if err != nil {
				return storage.Inventory{}, err
			}
			inv.Volumes = append(inv.Volumes, v)
		} else if ref, ok := d.snapshotRef(f.name); ok {
			s, err := snapshot(ref, f)
			if err != nil {
				return storage.Inventory{}, err
			}
			if !slices.Contains(inv.Snapshots, s) {
				inv.Snapshots = append(inv.Snapshots, s)
			}
		}
	}
	return inv, nil
}
