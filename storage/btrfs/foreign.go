package btrfs

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage/internal/base"
)

// nameMax is the longest name of a directory entry, in bytes (BTRFS_NAME_LEN).
const nameMax = 255

// ForeignPath returns name, which is a path already, if it is that of a
// subvolume that Snapshot can take.
func (d *Driver) ForeignPath(ctx context.Context, name string) (string, error) {
	if _, err := encodeForeign(name); err != nil {
		return "", err
	}
	if err := d.base.Begin(ctx); err != nil {
		return "", err
	}
	f, _, err := d.openForeign(name)
	if err != nil {
		return "", base.Classify(err, "look at "+name)
	}
	return name, base.Classify(f.Close(), "look at "+name)
}

// openForeign opens a foreign subvolume; errs.Invalid if it is not there, not a
// subvolume, not in our filesystem, or not foreign.
func (d *Driver) openForeign(name string) (*os.File, subvolInfo, error) {
	if rel, err := filepath.Rel(d.base.Path, name); err != nil || filepath.IsLocal(rel) {
		return nil, subvolInfo{}, errs.Fieldf("source", "%s belongs to cloned itself", name)
	}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, subvolInfo{}, errs.Fieldf("source", "no directory: %w", err).
			WithHint("give the path of a btrfs subvolume, without symbolic links at its end")
	}
	if err != nil {
		return nil, subvolInfo{}, err
	}
	info, err := describe(f)
	if errors.Is(err, errNotSubvolume) {
		err = errs.Fieldf("source", "%s is not a btrfs subvolume", name)
	}
	if err == nil {
		err = d.checkFilesystem(f)
	}
	if err != nil {
		return nil, info, errors.Join(err, f.Close())
	}
	return f, info, nil
}

func (d *Driver) checkFilesystem(foreign *os.File) error {
	fsid, err := filesystem(foreign)
	if err == nil && fsid != d.fsid {
		err = errs.Fieldf("source", "%s lies in another btrfs than %s", foreign.Name(), d.base.Path).
			WithHint("a snapshot can't leave its filesystem: configure the driver's root in the same one")
	}
	return err
}

// encodeForeign returns the name of the directory for a foreign subvolume's
// snapshots, or errs.Invalid.
func encodeForeign(path string) (string, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0) {
		return "", errs.Fieldf("source", "%q is not an absolute path in its shortest form", path)
	}
	name := url.PathEscape(path)
	if len(name) > nameMax {
		return "", errs.Fieldf("source", "the path %s is too long", path).WithHint("mount it at a shorter one")
	}
	return name, nil
}

// decodeForeign is the reverse, and an error for any other name.
func decodeForeign(name string) (string, error) {
	path, err := url.PathUnescape(name)
	if err != nil {
		return "", err
	}
	if again, err := encodeForeign(path); err != nil || again != name {
		return "", errors.Join(errs.New(errs.Invalid, "INVALID_NAME", "%q is not the name of a foreign subvolume", name), err)
	}
	return path, nil
}
