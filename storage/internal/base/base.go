// Package base is what the storage drivers share that keep volumes and snapshots
// in a directory of their own on the host: that directory, with the instance's
// name as the birth mark, and the kinds of the filesystem's errors. What a
// volume is stays with the driver.
package base

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// Base is an instance's directory within the operator's root.
type Base struct {
	// Path is <root>/<instance>.
	Path string
	// opened is what Path was at first: another filesystem mounted over it, or
	// its own not mounted any more, must not look like all volumes gone.
	opened fs.FileInfo
}

// Open makes the instance's directory in root, which must exist.
func Open(root, instance string) (*Base, error) {
	if err := storage.CheckID(instance); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(root) {
		return nil, errs.Fieldf("root", "%q is not an absolute path", root)
	}
	if _, err := os.ReadDir(root); err != nil {
		return nil, errs.Fieldf("root", "not a directory that can be read: %w", err).
			WithHint("make it, or mount its filesystem")
	}
	b := &Base{Path: filepath.Join(root, instance)}
	// A database that runs unprivileged on the host must reach its volume.
	err := Mkdir(b.Path, 0o711)
	if err == nil {
		b.opened, err = os.Stat(b.Path)
	}
	if err != nil {
		return nil, Classify(err, "open "+b.Path)
	}
	return b, nil
}

// Join returns the path of something within the base.
func (b *Base) Join(elements ...string) string {
	return filepath.Join(append([]string{b.Path}, elements...)...)
}

// Begin starts every method of a driver: it returns errs.Unavailable for a
// context that has ended, and if the base is not what it was at Open.
func (b *Base) Begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return Classify(err, "storage")
	}
	now, err := os.Stat(b.Path)
	if err == nil && os.SameFile(b.opened, now) {
		return nil
	}
	return errs.New(errs.Unavailable, "UNMOUNTED", "%s is not the directory that was there at the start", b.Path).
		WithHint("mount its filesystem again, then restart cloned")
}

// Still ends a look at what is there. It returns err, unless the look found nothing
// amiss, or that something is not there, and the base has gone meanwhile: what is
// unmounted in the middle of a list must not end it.
func (b *Base) Still(ctx context.Context, err error) error {
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	if gone := b.Begin(ctx); gone != nil {
		return gone
	}
	return err
}

// Mkdir makes a directory of that mode, whatever the umask, or leaves the one
// that is there as it is.
func Mkdir(path string, mode fs.FileMode) error {
	err := os.Mkdir(path, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// Each calls do with the name of each directory in dir that name accepts. What
// do finds to have vanished meanwhile, or not to be ours, is passed over.
func Each(dir string, name func(string) error, do func(name string) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() || name(entry.Name()) != nil {
			continue
		}
		if err := do(entry.Name()); err != nil && !passOver(err) {
			return err
		}
	}
	return nil
}

func passOver(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errs.Is(err, errs.NotFound) || errs.As(err).Reason == storage.ReasonForeign
}

// Absent is the error for what does not exist.
func Absent(what string) error {
	return errs.New(errs.NotFound, "NO_SUCH_STORAGE", "%s does not exist", what)
}

// Foreign is the error for something in our place that is not ours.
func Foreign(place string) error {
	return errs.New(errs.Precondition, storage.ReasonForeign, "%s was not made by cloned", place).
		WithHint("move it away")
}

// Taken turns Foreign, found where something was to be made, into errs.Exists.
// It leaves all other errors as they are.
func Taken(err error) error {
	if err == nil || errs.As(err).Reason != storage.ReasonForeign {
		return err
	}
	return errs.New(errs.Exists, storage.ReasonForeign, "%w", err).WithHint("move it away")
}

// HasSnapshots is the error for destroying a volume that has snapshots.
func HasSnapshots(volume string) error {
	return errs.New(errs.Precondition, storage.ReasonHasDependents, "volume %s has snapshots", volume).
		WithHint("destroy its snapshots first")
}

// Classify gives an error of the filesystem its kind; what names the operation.
func Classify(err error, what string) error {
	var known *errs.Error
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return errs.New(errs.Unavailable, "CANCELED", "%s: %w", what, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return errs.New(errs.Exhausted, storage.ReasonPoolFull, "%s: no space left: %w", what, err).
			WithHint("delete clones or snapshots, or give the pool more space")
	default:
		return errs.New(errs.Internal, "FILESYSTEM", "%s: %w", what, err)
	}
}
