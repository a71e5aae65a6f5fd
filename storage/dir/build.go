package dir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/internal/tree"
	"github.com/cloned-db/cloned/storage"
	"github.com/cloned-db/cloned/storage/internal/base"
)

// content is the name of the directory within a volume's or snapshot's place
// that holds its content.
const content = "data"

// A work is a volume or snapshot that appears or disappears: where, and by
// which name it is known in tmp. Names are unique because IDs have no dots.
type work struct{ name, place string }

func (d *Driver) volumeWork(id string) work {
	return work{name: "v." + id, place: d.volumeDir(id)}
}

func (d *Driver) snapshotWork(ref storage.SnapshotRef) work {
	return work{name: "s." + ref.Source.Volume + "." + ref.ID, place: d.snapshotDir(ref)}
}

// building and removing are where a work is while it is not in its place.
func (d *Driver) building(w work) string { return d.base.Join("tmp", "new."+w.name) }
func (d *Driver) removing(w work) string { return d.base.Join("tmp", "old."+w.name) }

// build lets fill fill a new directory, which then appears in its place.
func (d *Driver) build(w work, verb string, fill func(dir string) error) (err error) {
	defer func(begin time.Time) { d.observe(verb, begin, err) }(time.Now())
	unlock, err := d.lock(unix.LOCK_SH)
	if err != nil {
		return err
	}
	defer unlock()
	dir := d.building(w)
	if err := tree.Remove(dir); err != nil {
		return err
	}
	err = base.Mkdir(dir, 0o755)
	if err == nil {
		err = fill(dir)
	}
	if err == nil {
		err = os.Rename(dir, w.place)
	}
	if err != nil {
		return errors.Join(err, tree.Remove(dir))
	}
	return nil
}

// remove makes a work disappear, with all that died calls left of it.
func (d *Driver) remove(w work) (err error) {
	defer func(begin time.Time) { d.observe("remove", begin, err) }(time.Now())
	unlock, err := d.lock(unix.LOCK_SH)
	if err != nil {
		return err
	}
	defer unlock()
	if err := errors.Join(tree.Remove(d.building(w)), tree.Remove(d.removing(w))); err != nil {
		return err
	}
	err = os.Rename(w.place, d.removing(w))
	switch {
	case err == nil:
		return tree.Remove(d.removing(w))
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.ENOSPC):
		// A full btrfs has room for removing and none for renaming. Better that
		// death in the middle of this leaves half a volume, which its owner has
		// resolved to destroy anyway, than a full pool that nothing can empty.
		return tree.Remove(w.place)
	default:
		return err
	}
}

// collect clears away what died processes left, unless one is alive.
func (d *Driver) collect(ctx context.Context) error {
	unlock, err := d.lock(unix.LOCK_EX | unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	entries, err := os.ReadDir(d.base.Join("tmp"))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := tree.Remove(d.base.Join("tmp", entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// lock locks tmp: shared by those at work in it, exclusive for clearing it. The
// kernel lets go of it when a process dies.
func (d *Driver) lock(how int) (unlock func() error, err error) {
	f, err := os.Open(d.base.Join("tmp"))
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if err == nil {
			return f.Close, nil
		}
		if !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(&fs.PathError{Op: "flock", Path: f.Name(), Err: err}, f.Close())
		}
	}
}

// persist forces all that was written under path to disk.
func persist(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return &fs.PathError{Op: "syncfs", Path: path, Err: err}
	}
	return nil
}
