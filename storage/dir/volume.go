package dir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/tree"
	"github.com/cloned-db/cloned/storage"
	"github.com/cloned-db/cloned/storage/internal/base"
)

// origin is the name of the link that tells a clone's origin. Nothing follows
// it, and it stays when the snapshot goes.
const origin = "origin"

// Create makes an empty volume.
func (d *Driver) Create(ctx context.Context, id string) (storage.Volume, error) {
	return d.make(ctx, id, nil, "create", func(dir string) error {
		return os.Mkdir(filepath.Join(dir, content), 0o755)
	})
}

// Clone copies a snapshot.
func (d *Driver) Clone(ctx context.Context, from storage.SnapshotRef, id string) (storage.Volume, error) {
	if err := check(from); err != nil {
		return storage.Volume{}, err
	}
	return d.make(ctx, id, &from, "clone", func(dir string) error {
		link := filepath.Join("..", "..", "s", from.Source.Volume, from.ID)
		if err := os.Symlink(link, filepath.Join(dir, origin)); err != nil {
			return err
		}
		return tree.Copy(ctx, filepath.Join(d.snapshotDir(from), content), filepath.Join(dir, content), d.reflink)
	})
}

// make makes the volume, unless the same is there already.
func (d *Driver) make(ctx context.Context, id string, from *storage.SnapshotRef, verb string, fill func(string) error) (storage.Volume, error) {
	if err := storage.CheckID(id); err != nil {
		return storage.Volume{}, err
	}
	if err := d.base.Begin(ctx); err != nil {
		return storage.Volume{}, err
	}
	what := verb + " " + id
	if from != nil {
		if _, err := d.snapshot(*from); err != nil {
			return storage.Volume{}, base.Classify(err, what)
		}
	}
	v, err := d.volume(id)
	if err == nil {
		if !same(v.Origin, from) {
			err = errs.New(errs.Exists, "VOLUME_EXISTS", "volume %s exists with another origin", id)
		}
		return v, err
	}
	if !errs.Is(err, errs.NotFound) {
		return storage.Volume{}, base.Classify(base.Taken(err), what)
	}
	if err := d.build(d.volumeWork(id), verb, fill); err != nil {
		return storage.Volume{}, base.Classify(err, what)
	}
	v, err = d.volume(id)
	return v, base.Classify(err, what)
}

func same(a, b *storage.SnapshotRef) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// Stat describes a volume.
func (d *Driver) Stat(ctx context.Context, id string) (storage.Volume, error) {
	if err := storage.CheckID(id); err != nil {
		return storage.Volume{}, err
	}
	if err := d.base.Begin(ctx); err != nil {
		return storage.Volume{}, err
	}
	v, err := d.volume(id)
	return v, d.base.Still(ctx, base.Classify(err, "stat "+id))
}

// Destroy removes a volume.
func (d *Driver) Destroy(ctx context.Context, id string) error {
	if err := storage.CheckID(id); err != nil {
		return err
	}
	if err := d.base.Begin(ctx); err != nil {
		return err
	}
	if _, err := d.volume(id); err != nil && !errs.Is(err, errs.NotFound) {
		return base.Classify(err, "destroy "+id)
	}
	// The directory of its snapshots goes only if it is empty.
	err := os.Remove(d.base.Join("s", id))
	if errors.Is(err, fs.ErrExist) { // ENOTEMPTY
		return base.HasSnapshots(id)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = d.remove(d.volumeWork(id))
	}
	return base.Classify(err, "destroy "+id)
}

// Usage measures a volume; it looks at each of its files.
func (d *Driver) Usage(ctx context.Context, id string) (storage.Usage, error) {
	v, err := d.Stat(ctx, id)
	if err != nil {
		return storage.Usage{}, err
	}
	size, err := tree.Measure(ctx, v.Path)
	return storage.Usage(size), base.Classify(err, "usage of "+id)
}

// SnapshotUsage measures a snapshot; it looks at each of its files.
func (d *Driver) SnapshotUsage(ctx context.Context, ref storage.SnapshotRef) (storage.Usage, error) {
	if err := check(ref); err != nil {
		return storage.Usage{}, err
	}
	if err := d.base.Begin(ctx); err != nil {
		return storage.Usage{}, err
	}
	what := "usage of snapshot " + ref.ID + " of " + ref.Source.Volume
	if _, err := d.snapshot(ref); err != nil {
		return storage.Usage{}, base.Classify(err, what)
	}
	size, err := tree.Measure(ctx, filepath.Join(d.snapshotDir(ref), content))
	return storage.Usage(size), base.Classify(err, what)
}

// volume looks a volume up. Errors with a kind: NotFound, and Precondition for
// what is not ours.
func (d *Driver) volume(id string) (storage.Volume, error) {
	place := d.volumeDir(id)
	info, err := ours(place, "volume "+id)
	if err != nil {
		return storage.Volume{}, err
	}
	v := storage.Volume{ID: id, Path: filepath.Join(place, content), Created: info.ModTime()}
	link, err := os.Readlink(filepath.Join(place, origin))
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err != nil {
		return storage.Volume{}, err
	}
	v.Origin = &storage.SnapshotRef{Source: storage.Own(filepath.Base(filepath.Dir(link))), ID: filepath.Base(link)}
	if err := v.Origin.Check(); err != nil {
		return storage.Volume{}, errs.New(errs.Corrupt, "BAD_ORIGIN", "volume %s: its origin reads %q", id, link)
	}
	return v, nil
}

// ours describes the place of a volume or snapshot: as long as it is there its
// time of modification is that of its making, because nothing is ever added.
func ours(place, what string) (fs.FileInfo, error) {
	info, err := os.Lstat(place)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, base.Absent(what)
	}
	if err != nil {
		return nil, err
	}
	inside, err := os.Lstat(filepath.Join(place, content))
	if err == nil && info.IsDir() && inside.IsDir() {
		return info, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return nil, err
	}
	return nil, base.Foreign(place)
}
