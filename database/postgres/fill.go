package postgres

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// tablespaceDir holds the tablespaces of a volume.
const tablespaceDir = "tblspc"

// Fill implements database.Engine.
func (*Engine) Fill(ctx context.Context, rt container.Runtime, req database.FillRequest) error {
	var err error
	switch req.Source.Kind {
	case database.SourceDirectory:
		err = fillFromDirectory(ctx, rt, req)
	case database.SourceBaseBackup:
		err = fillFromServer(ctx, rt, req)
	default:
		err = errs.Fieldf("source.kind", "a volume can't be filled from a source of kind %q", req.Source.Kind)
	}
	return inPhase(phaseFill, err)
}

// giveRoot makes a volume's root the user's, and nobody else's, if we may.
func giveRoot(path string, user container.User) error {
	if os.Geteuid() != 0 {
		return nil
	}
	if err := os.Chown(path, user.UID, user.GID); err != nil {
		return err
	}
	return os.Chmod(path, 0o700)
}

// syncVolume forces all of a volume to disk: the servers that run on it later
// force only what they write themselves.
func syncVolume(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// volumeError is an error of writing to a volume.
func volumeError(doing string, err error) error {
	var e *errs.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return err
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return full(doing, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return errs.New(errs.Unavailable, "CANCELLED", "%s: %w", doing, err)
	default:
		return errs.New(errs.Internal, "VOLUME", "%s: %w", doing, err)
	}
}

func full(doing string, err error) *errs.Error {
	return errs.New(errs.Exhausted, "POOL_FULL", "%s: no space left: %w", doing, err).
		WithHint("delete clones or old snapshots, or make the pool larger")
}

// dataPath is the data directory's path on the host.
func dataPath(v database.Volume) string { return filepath.Join(v.Path, v.DataDir) }
