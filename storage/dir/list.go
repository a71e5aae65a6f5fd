package dir

import (
	"context"

	"github.com/cloned-db/cloned/storage"
	"github.com/cloned-db/cloned/storage/internal/base"
)

// List describes all volumes and snapshots. There are none of foreign datasets.
func (d *Driver) List(ctx context.Context, _ []string) (storage.Inventory, error) {
	if err := d.base.Begin(ctx); err != nil {
		return storage.Inventory{}, err
	}
	var inv storage.Inventory
	err := base.Each(d.base.Join("v"), storage.CheckID, func(id string) error {
		v, err := d.volume(id)
		if err == nil {
			inv.Volumes = append(inv.Volumes, v)
		}
		return err
	})
	if err == nil {
		err = base.Each(d.base.Join("s"), storage.CheckID, func(volume string) error {
			return base.Each(d.base.Join("s", volume), storage.CheckID, func(id string) error {
				s, err := d.snapshot(storage.SnapshotRef{Source: storage.Own(volume), ID: id})
				if err == nil {
					inv.Snapshots = append(inv.Snapshots, s)
				}
				return err
			})
		})
	}
	if err := d.base.Still(ctx, base.Classify(err, "list "+d.base.Path)); err != nil {
		return storage.Inventory{}, err
	}
	return inv, nil
}
