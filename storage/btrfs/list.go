package btrfs

import (
	"context"

	"github.com/cloned-db/cloned/storage"
	"github.com/cloned-db/cloned/storage/internal/base"
)

// List describes all volumes and snapshots; those of foreign subvolumes are
// included whether named or not.
func (d *Driver) List(ctx context.Context, _ []string) (storage.Inventory, error) {
	if err := d.base.Begin(ctx); err != nil {
		return storage.Inventory{}, err
	}
	l := lister{d: d, parents: map[string]uuid{}, snapshots: map[uuid]storage.SnapshotRef{}}
	// Volumes first: the origin of each is then older than the look at the
	// snapshots, and not missing from it.
	for _, step := range []func() error{l.volumes, l.own, l.foreign} {
		if err := step(); err != nil {
			return storage.Inventory{}, base.Classify(err, "list "+d.base.Path)
		}
	}
	if err := d.base.Still(ctx, nil); err != nil {
		return storage.Inventory{}, err
	}
	for i, v := range l.inv.Volumes {
		if ref, ok := l.snapshots[l.parents[v.ID]]; ok {
			l.inv.Volumes[i].Origin = &ref
		}
	}
	return l.inv, nil
}

type lister struct {
	d         *Driver
	inv       storage.Inventory
	parents   map[string]uuid
	snapshots map[uuid]storage.SnapshotRef
}

func (l *lister) volumes() error {
	return base.Each(l.d.base.Join("v"), storage.CheckID, func(id string) error {
		v, info, err := l.d.volume(id)
		if err == nil {
			l.inv.Volumes = append(l.inv.Volumes, v)
			l.parents[id] = info.parentUUID
		}
		return err
	})
}

func (l *lister) own() error {
	return base.Each(l.d.base.Join("s"), storage.CheckID, func(volume string) error {
		return l.of(l.d.base.Join("s", volume), storage.Own(volume))
	})
}

func (l *lister) foreign() error {
	decodes := func(name string) error { _, err := decodeForeign(name); return err }
	return base.Each(l.d.base.Join("f"), decodes, func(name string) error {
		path, err := decodeForeign(name)
		if err != nil {
			return err
		}
		return l.of(l.d.base.Join("f", name), storage.Source{Foreign: path})
	})
}

// of adds the snapshots in dir.
func (l *lister) of(dir string, src storage.Source) error {
	return base.Each(dir, storage.CheckID, func(id string) error {
		ref := storage.SnapshotRef{Source: src, ID: id}
		place, err := l.d.snapshotPlace(ref)
		if err != nil {
			return err
		}
		f, info, err := openSnapshot(place)
		if err != nil {
			return err
		}
		l.inv.Snapshots = append(l.inv.Snapshots, storage.Snapshot{Ref: ref, Created: info.created()})
		l.snapshots[info.uuid] = ref
		return f.Close()
	})
}
