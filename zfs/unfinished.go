package zfs

import (
	"context"
	"os"
	"time"

	"github.com/cloned-db/cloned/errs"
)

// unfinished reports whether a dataset is what `zfs create` or `zfs clone` leaves
// when the machine dies, or the pool is suspended, in the middle of it: ZFS
// creates the file system in one transaction group and sets the properties given
// with -o in a later one ("It would be nice to do this atomically", zfs_ioc_create
// and zfs_ioc_clone in module/zfs/zfs_ioctl.c; a snapshot gets them at once).
//
// Such a dataset stands where a volume of ours would, bears nobody's mark, and
// has nothing in it that could be lost: a clone of one of our snapshots without
// a block of its own, or a file system without a file.
func (d *Driver) unfinished(ctx context.Context, found dataset) (bool, error) {
	volume, placed := d.volumeID(found.name)
	switch source := found.properties[markProperty].source; {
	case !placed || source == "local" || source == "received":
		return false, nil
	case found.value("mounted") == "-": // not a file system
		return false, nil
	}
	if found.value("origin") != "-" {
		_, fromOurs := d.snapshotRef(found.value("origin"))
		return fromOurs && found.value("written") == "0", nil
	}
	if found.value("mounted") != "yes" {
		if err := d.mount(ctx, volume, found.name); err != nil {
			return false, err
		}
	}
	if err := d.checkMounted(volume); err != nil {
		return false, err
	}
	files, err := os.ReadDir(d.path(volume))
	if err != nil {
		return false, errs.New(errs.Internal, reasonMount, "looking into volume %s: %w", volume, err)
	}
	return len(files) == 0, nil
}

// finish gives an unfinished dataset the mark that a call for a volume with that
// origin would have given it, and describes it again; errs.Exists
// (ReasonForeign) if it is something else.
func (d *Driver) finish(ctx context.Context, found dataset, origin string) (dataset, error) {
	unfinished, err := d.unfinished(ctx, found)
	if err != nil {
		return dataset{}, err
	}
	if !unfinished || found.value("origin") != origin {
		return dataset{}, existsForeign(found.name)
	}
	if err := d.run(ctx, "set", append(d.birth(time.Now()), found.name)...); err != nil {
		return dataset{}, err
	}
	if found, err = d.describe(ctx, found.name, detailProperties); err == nil && !found.ours(d.instance) {
		err = existsForeign(found.name)
	}
	return found, err
}
