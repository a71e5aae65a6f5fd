package zfs

import (
	"context"
	"fmt"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

var _ storage.Quota = (*Driver)(nil)

// CloneWithin implements storage.Quota by refquota, which bounds what a dataset
// refers to (zfsprops(7)): what the snapshot holds, and what the clone may grow by.
// The first clone of a snapshot takes a look at it, the others a single command.
func (d *Driver) CloneWithin(ctx context.Context, from storage.SnapshotRef, volume string, bytes int64) (storage.Volume, error) {
	if bytes < 1 {
		return storage.Volume{}, errs.Fieldf("bytes", "%d is no bound: it must be at least 1", bytes)
	}
	held, err := d.referred(ctx, from)
	if err != nil {
		return storage.Volume{}, err
	}
	return d.clone(ctx, from, volume, fmt.Sprintf("refquota=%d", held+bytes))
}

// referred is what a snapshot refers to, in bytes as the pool stores them.
func (d *Driver) referred(ctx context.Context, ref storage.SnapshotRef) (int64, error) {
	name, err := d.snapshotName(ref)
	if err != nil {
		return 0, err
	}
	if held, ok := d.held.Load(name); ok {
		return held.(int64), nil
	}
	found, err := d.describe(ctx, name, []string{"referenced", "used"})
	if err != nil {
		return 0, err
	}
	held, _, err := found.numbers("referenced", "used")
	if err == nil {
		d.held.Store(name, held)
	}
	return held, err
}
