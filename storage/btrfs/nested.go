package btrfs

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// destroyNested destroys the subvolumes below a subvolume. Anyone who may write
// to a volume can make some, also from within a container; they are part of its
// content. The walk can't be led elsewhere by symbolic links.
func destroyNested(path string) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	return nested(root, ".")
}

// nested destroys the subvolumes below the directory rel, the innermost first.
func nested(root *os.Root, rel string) error {
	dir, err := root.OpenFile(rel, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if err := nestedIn(root, dir, filepath.Join(rel, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// nestedIn empties the directory rel in dir of subvolumes, and destroys it if it
// is one.
func nestedIn(root *os.Root, dir *os.File, rel string) error {
	if err := nested(root, rel); err != nil {
		return err
	}
	sub, err := root.OpenFile(rel, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	ok, err := isSubvolume(sub)
	if err := errors.Join(err, sub.Close()); err != nil || !ok {
		return err
	}
	return destroySubvolume(dir, filepath.Base(rel))
}
