// Package durable writes files that are there as a whole, whatever happens
// meanwhile: after a power cut a file has its old content or its new one, and the
// new one once the function has returned.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// unfinished is in the names of files that are being written.
const unfinished = ".new-"

// Sweep removes what a power cut has left of files that were being written in a
// directory. Nobody else may write there meanwhile.
func Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") && strings.Contains(e.Name(), unfinished) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// Place makes a file; fs.ErrExist if there is one.
func Place(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, os.Link)
}

// Replace makes a file, or puts it in another's place.
func Replace(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, os.Rename)
}

// write makes the file beside its place, and puts it there once it is on disk.
func write(path string, data []byte, mode fs.FileMode, put func(from, to string) error) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+unfinished+"*") // of mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = put(tmp.Name(), path)
	}
	if removeErr := os.Remove(tmp.Name()); !errors.Is(removeErr, fs.ErrNotExist) { // a rename has moved it
		err = errors.Join(err, removeErr)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir has what was made, renamed and removed in a directory survive a power
// cut.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
