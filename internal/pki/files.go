package pki

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// place writes both files where none are.
func place(files Files, p pair) error {
	if err := placeFile(files.Key, p.key, 0o600); err != nil {
		return err
	}
	if err := placeFile(files.Cert, p.cert, 0o644); err != nil {
		return errors.Join(err, os.Remove(files.Key))
	}
	return nil
}

// placeFile makes a file as a whole; fs.ErrExist if there is one.
func placeFile(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, os.Link)
}

// replaceFile puts a file in another's place as a whole.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, os.Rename)
}

// write makes the file beside its place, and puts it there once it is on disk.
func write(path string, data []byte, mode fs.FileMode, put func(from, to string) error) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".new-*") // of mode 0600
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
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
