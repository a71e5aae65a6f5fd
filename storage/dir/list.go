package dir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// List describes all volumes and snapshots. There are none of foreign datasets.
func (d *Driver) List(ctx context.Context, _ []string) (storage.Inventory, error) {
	if err := d.begin(ctx); err != nil {
		return storage.Inventory{}, err
	}
	var inv storage.Inventory
	err := each(filepath.Join(d.base, "v"), func(id string) error {
		v, err := d.volume(id)
		if err == nil {
			inv.Volumes = append(inv.Volumes, v)
		}
		return err
	})
	if err == nil {
		err = each(filepath.Join(d.base, "s"), func(volume string) error {
			return each(filepath.Join(d.base, "s", volume), func(id string) error {
				s, err := d.snapshot(storage.SnapshotRef{Source: storage.Own(volume), ID: id})
				if err == nil {
					inv.Snapshots = append(inv.Snapshots, s)
				}
				return err
			})
		})
	}
	if err != nil {
		return storage.Inventory{}, classify(err, "list "+d.base)
	}
	return inv, nil
}

// each calls do with each name in dir that is an ID. What vanishes meanwhile
// and what is not ours is passed over.
func each(dir string, do func(id string) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() || storage.CheckID(entry.Name()) != nil {
			continue
		}
		if err := do(entry.Name()); err != nil && !passOver(err) {
			return err
		}
	}
	return nil
}

func passOver(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errs.Is(err, errs.NotFound) || errs.As(err).Reason == storage.ReasonForeign
}
