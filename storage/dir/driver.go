package dir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/command"
	"github.com/cloned-db/cloned/internal/tree"
	"github.com/cloned-db/cloned/storage"
)

// Config says where a Driver keeps its volumes.
type Config struct {
	// Root is the absolute path of an existing directory. Several instances may
	// share it.
	Root string
	// Instance is this installation's mark; it looks like an ID of the storage
	// contract.
	Instance string
	// Run is told of each copy and removal as if it were a command named "dir".
	Run *command.Runner
}

// Driver implements storage.Driver.
type Driver struct {
	base string
	// id is what base was at Open: another filesystem mounted over it, or ours
	// not mounted any more, must not look like all volumes gone.
	id      fs.FileInfo
	run     *command.Runner
	reflink bool
}

var _ storage.Driver = (*Driver)(nil)

// Open makes a Driver and clears away what died calls left, unless another
// process is at work in the same place.
func Open(ctx context.Context, cfg Config) (*Driver, error) {
	if err := storage.CheckID(cfg.Instance); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(cfg.Root) {
		return nil, errs.Fieldf("root", "%q is not an absolute path", cfg.Root)
	}
	if _, err := os.ReadDir(cfg.Root); err != nil {
		return nil, errs.Fieldf("root", "not a directory that can be read: %w", err).WithHint("make it, or mount its filesystem")
	}
	d := &Driver{base: filepath.Join(cfg.Root, cfg.Instance), run: cfg.Run}
	if err := d.prepare(ctx); err != nil {
		return nil, classify(err, "opening "+d.base)
	}
	return d, nil
}

func (d *Driver) prepare(ctx context.Context) error {
	// A database that runs unprivileged on the host must reach its volume;
	// snapshots are nobody's business.
	err := errors.Join(
		mkdir(d.base, 0o711),
		mkdir(filepath.Join(d.base, "v"), 0o711),
		mkdir(filepath.Join(d.base, "s"), 0o700),
		mkdir(filepath.Join(d.base, "tmp"), 0o700),
	)
	if err != nil {
		return err
	}
	if d.id, err = os.Stat(d.base); err != nil {
		return err
	}
	if err := d.collect(ctx); err != nil {
		return err
	}
	d.reflink, err = tree.Reflinks(filepath.Join(d.base, "tmp"))
	return err
}

// mkdir makes a directory of that mode, whatever the umask, or leaves the one
// that is there as it is.
func mkdir(path string, mode fs.FileMode) error {
	err := os.Mkdir(path, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// Name returns "dir".
func (d *Driver) Name() string { return "dir" }

// Capabilities says whether the filesystem shares blocks.
func (d *Driver) Capabilities() storage.Capabilities {
	return storage.Capabilities{Thin: d.reflink, Origins: true}
}

// begin starts every method: nothing is done for a context that has ended or
// on a filesystem that is not the one we were opened on.
func (d *Driver) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return errs.New(errs.Unavailable, "CANCELED", "storage: %w", err)
	}
	now, err := os.Stat(d.base)
	if err == nil && os.SameFile(d.id, now) {
		return nil
	}
	return errs.New(errs.Unavailable, "UNMOUNTED", "%s is not the directory that was there at the start", d.base).
		WithHint("mount its filesystem again, then restart cloned")
}

// observe reports what ran from begin until now.
func (d *Driver) observe(verb string, begin time.Time, err error) {
	if d.run != nil && d.run.Observe != nil {
		d.run.Observe("dir", verb, time.Since(begin), err)
	}
}

func (d *Driver) volumeDir(id string) string { return filepath.Join(d.base, "v", id) }

func (d *Driver) snapshotDir(ref storage.SnapshotRef) string {
	return filepath.Join(d.base, "s", ref.Source.Volume, ref.ID)
}

// check returns errs.Invalid unless ref is a snapshot of ours by its form.
func check(ref storage.SnapshotRef) error {
	if ref.Source.Foreign != "" && ref.Source.Volume == "" {
		return notForeign(ref.Source.Foreign)
	}
	return ref.Check()
}

func notForeign(name string) error {
	return errs.Fieldf("source", "the dir driver can't take %q in place: copying a directory that is being written gives no snapshot", name).
		WithHint("use ZFS or btrfs, or give a base backup as the source")
}

// ForeignPath refuses everything: see the package comment.
func (d *Driver) ForeignPath(_ context.Context, name string) (string, error) {
	return "", notForeign(name)
}

// Space returns the filesystem's.
func (d *Driver) Space(ctx context.Context) (storage.Space, error) {
	if err := d.begin(ctx); err != nil {
		return storage.Space{}, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(d.base, &st); err != nil {
		return storage.Space{}, classify(err, "space of "+d.base)
	}
	return storage.Space{Total: int64(st.Blocks) * st.Bsize, Free: int64(st.Bavail) * st.Bsize}, nil
}

// classify gives an error of the filesystem its kind.
func classify(err error, what string) error {
	var known *errs.Error
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return errs.New(errs.Unavailable, "CANCELED", "%s: %w", what, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return errs.New(errs.Exhausted, storage.ReasonPoolFull, "%s: no space left: %w", what, err).
			WithHint("delete clones or snapshots, or give the filesystem more space")
	default:
		return errs.New(errs.Internal, "FILESYSTEM", "%s: %w", what, err)
	}
}
