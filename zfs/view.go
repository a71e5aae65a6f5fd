package zfs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// view is a snapshot's content, as ZFS shows it below the dataset's mount point.
type view struct {
	// mount is where the dataset is mounted, name the snapshot's full name.
	mount, name string
	root        *os.File
}

// view opens a snapshot: the kernel mounts it when it is first looked into, and
// unmounts it when it is destroyed or nobody has looked for a while.
func (d *Driver) view(ctx context.Context, src storage.Source, name string) (*view, error) {
	mount, err := d.mountOf(ctx, src)
	if err != nil {
		return nil, err
	}
	_, short, _ := strings.Cut(name, "@")
	root, err := os.Open(filepath.Join(mount, ".zfs", "snapshot", short))
	if err != nil {
		return nil, errView(name, err)
	}
	// The bare mount point would be an empty directory.
	var above, at unix.Stat_t
	err = unix.Stat(mount, &above)
	if err == nil {
		err = unix.Fstat(int(root.Fd()), &at)
	}
	if err == nil && at.Dev == above.Dev {
		err = errors.New("it is not mounted")
	}
	if err != nil {
		return nil, errView(name, errors.Join(err, root.Close()))
	}
	return &view{mount: mount, name: name, root: root}, nil
}

// mountOf returns where a source is mounted, after mounting it if it is ours.
func (d *Driver) mountOf(ctx context.Context, src storage.Source) (string, error) {
	if src.Foreign != "" {
		return d.ForeignPath(ctx, src.Foreign)
	}
	v, err := d.Stat(ctx, src.Volume)
	return v.Path, err
}

func errView(name string, err error) *errs.Error {
	return errs.New(errs.Internal, reasonMount, "looking into snapshot %s: %w", name, err).
		WithHint("it must be reachable below .zfs/snapshot: see the property snapdir")
}

func (v *view) close() error { return v.root.Close() }

// open opens a path of the view. No symbolic link and no other mount leads out of
// it, for what is in it was made by whoever uses the volume. ok is false if there
// is no such path.
func (v *view) open(rel string, flags uint64) (fd int, ok bool, err error) {
	if rel == "" {
		rel = "."
	}
	fd, err = unix.Openat2(int(v.root.Fd()), rel, &unix.OpenHow{
		Flags:   flags | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, errView(v.name, &fs.PathError{Op: "open", Path: rel, Err: err})
	}
	return fd, true, nil
}

// file describes what has a path, unless it is a directory.
func (v *view) file(rel string) (info unix.Stat_t, ok bool, err error) {
	fd, ok, err := v.open(rel, unix.O_PATH)
	if err != nil || !ok {
		return info, false, err
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &info); err != nil {
		return info, false, errView(v.name, &fs.PathError{Op: "stat", Path: rel, Err: err})
	}
	return info, info.Mode&unix.S_IFMT != unix.S_IFDIR, nil
}

// names returns what a directory holds, by name; nothing if there is no such
// directory.
func (v *view) names(rel string) (map[string]fs.DirEntry, error) {
	fd, ok, err := v.open(rel, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil || !ok {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), filepath.Join(v.root.Name(), rel))
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, errView(v.name, err)
	}
	found := make(map[string]fs.DirEntry, len(entries))
	for _, e := range entries {
		found[e.Name()] = e
	}
	return found, nil
}
