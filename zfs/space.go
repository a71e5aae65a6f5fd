package zfs

import (
	"context"

	gozfs "github.com/mistifyio/go-zfs/v3"

	"github.com/cloned-db/cloned/storage"
)

// Usage says what a volume takes. Unique is "written": what it refers to that
// its newest snapshot, or the snapshot it was cloned from, does not. Logical is
// "logicalreferenced": its content before compression. Both are as of the last
// transaction group, some five seconds ago at most.
func (d *Driver) Usage(ctx context.Context, volume string) (storage.Usage, error) {
	found, err := d.own(ctx, volume)
	if err != nil {
		return storage.Usage{}, err
	}
	unique, logical, err := found.numbers("written", "logicalreferenced")
	return storage.Usage{Unique: unique, Logical: logical}, err
}

// Space says what the parent may take ("available", within its quota and without
// what ZFS keeps for itself) and, as the total, that and what it takes now.
// Other datasets of the pool, foreign ones included, show only in that they
// leave less free.
func (d *Driver) Space(ctx context.Context) (storage.Space, error) {
	found, err := d.describe(ctx, d.parent, []string{"available", "used"})
	if err != nil {
		return storage.Space{}, err
	}
	free, used, err := found.numbers("available", "used")
	return storage.Space{Total: free + used, Free: free}, err
}

// Health returns the state of the pool in ZFS's words: ONLINE when all is well,
// otherwise DEGRADED, SUSPENDED, FAULTED and so on (zpoolconcepts(7)).
func (d *Driver) Health(ctx context.Context) (string, error) {
	pool, err := await(ctx, d.runner, func() (*gozfs.Zpool, error) { return gozfs.GetZpool(d.pool) })
	if err != nil {
		return "", classify(err)
	}
	return pool.Health, nil
}
