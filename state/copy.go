package state

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// Copy returns the content of a file that Open opens with the present state. It
// is held in memory, for to a slow reader of the file itself every change might
// have to wait.
func (s *Store) Copy() ([]byte, error) {
	var out bytes.Buffer
	err := s.db.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(&out)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("state: copying %s: %w", s.db.Path(), err)
	}
	return out.Bytes(), nil
}

// Check is the Check of a copy: which pages are free can't be told of a file that
// changes.
func (s *Store) Check() (err error) {
	raw, err := s.Copy()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "cloned-check-")
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, filepath.Base(s.db.Path()))
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return Check(path)
}
