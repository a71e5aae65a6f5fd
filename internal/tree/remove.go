package tree

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Remove removes path and all below it; it is no error if there is nothing.
func Remove(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	// Who is not root can't empty a directory that he may not write to, even if
	// it is his own. WalkDir reads a directory after it was handed over.
	if walkErr := filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return os.Chmod(path, 0o700)
	}); walkErr != nil {
		return errors.Join(err, walkErr)
	}
	return os.RemoveAll(path)
}
