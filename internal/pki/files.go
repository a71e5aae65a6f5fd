package pki

import (
	"errors"
	"os"

	"github.com/cloned-db/cloned/internal/durable"
)

// place writes both files where none are.
func place(files Files, p pair) error {
	if err := durable.Place(files.Key, p.key, 0o600); err != nil {
		return err
	}
	if err := durable.Place(files.Cert, p.cert, 0o644); err != nil {
		return errors.Join(err, os.Remove(files.Key))
	}
	return nil
}
