package zfs

import (
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// ZFS takes 255 bytes for a whole name, snapshot included
// (ZFS_MAX_DATASET_NAME_LEN, with its terminator, is 256). IDs take up to 63.
const (
	maxName = 255
	maxID   = 63
)

// datasetPattern is what ZFS allows in a file system's name, without the blank:
// components of letters, digits and "_.:-" behind a pool that starts with a
// letter. No such name can be taken for an option or for a snapshot.
var datasetPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.:-]*(/[A-Za-z0-9_.:-]+)*$`)

// checkDataset returns errs.Invalid about the field unless name can be the name
// of a file system with at most limit bytes.
func checkDataset(field, name string, limit int) error {
	switch {
	case !datasetPattern.MatchString(name):
		return errs.Fieldf(field, "%q is not the name of a ZFS file system: must be like pool/name, of letters, digits and _ . : -", name)
	case len(name) > limit:
		return errs.Fieldf(field, "%q has %d characters, more than the %d that leave room for the names of volumes and snapshots", name, len(name), limit)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "." || part == ".." {
			return errs.Fieldf(field, "%q: a component must not be %q", name, part)
		}
	}
	return nil
}

// poolOf returns the pool that a dataset lies in.
func poolOf(dataset string) string {
	pool, _, _ := strings.Cut(dataset, "/")
	return pool
}

// volumeName returns the dataset of a volume.
func (d *Driver) volumeName(volume string) (string, error) {
	if err := storage.CheckID(volume); err != nil {
		return "", err
	}
	return d.parent + "/" + volume, nil
}

// volumeID returns the volume whose dataset bears the name.
func (d *Driver) volumeID(dataset string) (string, bool) {
	id, under := strings.CutPrefix(dataset, d.parent+"/")
	return id, under && storage.CheckID(id) == nil
}

// path returns where a volume is mounted: children inherit the parent's mount
// point with their own name appended.
func (d *Driver) path(volume string) string { return filepath.Join(d.mountpoint, volume) }

// snapshotName returns the full name of a snapshot.
func (d *Driver) snapshotName(ref storage.SnapshotRef) (string, error) {
	if err := ref.Check(); err != nil {
		return "", err
	}
	if ref.Source.Foreign == "" {
		return d.parent + "/" + ref.Source.Volume + d.snapshotPrefix() + ref.ID, nil
	}
	return ref.Source.Foreign + d.snapshotPrefix() + ref.ID, d.checkForeign(ref.Source.Foreign)
}

// snapshotRef is the reverse of snapshotName.
func (d *Driver) snapshotRef(name string) (storage.SnapshotRef, bool) {
	dataset, id, named := strings.Cut(name, d.snapshotPrefix())
	if !named || storage.CheckID(id) != nil {
		return storage.SnapshotRef{}, false
	}
	src := storage.Source{Foreign: dataset}
	if volume, own := d.volumeID(dataset); own {
		src = storage.Own(volume)
	}
	return storage.SnapshotRef{Source: src, ID: id}, true
}

// snapshotPrefix stands between a dataset and the ID of our snapshot of it. That
// it names the instance makes the name alone tell our snapshots from others, so
// that cloning one takes no look at its mark.
func (d *Driver) snapshotPrefix() string { return "@cloned-" + d.instance + "-" }

// snapshotSuffix is how much the name of a snapshot is longer than its dataset's.
func (d *Driver) snapshotSuffix() int { return len(d.snapshotPrefix()) + maxID }

// checkForeign returns errs.Invalid (field "source") unless name can be a
// foreign dataset of this driver: a clone can't leave its snapshot's pool.
func (d *Driver) checkForeign(name string) error {
	if err := checkDataset("source", name, maxName-d.snapshotSuffix()); err != nil {
		return err
	}
	if poolOf(name) != d.pool {
		return errs.Fieldf("source", "dataset %s lies in another pool than %s, and a clone can't leave its pool", name, d.parent)
	}
	// Only the place tells volumes from other datasets before anything is asked.
	if _, own := d.volumeID(name); own || name == d.parent {
		return errs.Fieldf("source", "dataset %s is where cloned keeps its own volumes", name)
	}
	return nil
}

// temporaryName returns the full name of the snapshot for comparing a volume.
func (d *Driver) temporaryName(volume string) string {
	return d.parent + "/" + volume + d.snapshotPrefix() + temporaryID
}

// isTemporary reports whether a snapshot has such a name.
func (d *Driver) isTemporary(name string) bool {
	dataset, _, _ := strings.Cut(name, "@")
	volume, own := d.volumeID(dataset)
	return own && name == d.temporaryName(volume)
}
