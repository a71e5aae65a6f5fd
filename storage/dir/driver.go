package dir

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/command"
	"github.com/cloned-db/cloned/internal/tree"
	"github.com/cloned-db/cloned/storage"
	"github.com/cloned-db/cloned/storage/internal/base"
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
	base    *base.Base
	run     *command.Runner
	reflink bool
}

var _ storage.Driver = (*Driver)(nil)

// Open makes a Driver and clears away what died calls left, unless another
// process is at work in the same place.
func Open(ctx context.Context, cfg Config) (*Driver, error) {
	b, err := base.Open(cfg.Root, cfg.Instance)
	if err != nil {
		return nil, err
	}
	d := &Driver{base: b, run: cfg.Run}
	if err := d.prepare(ctx); err != nil {
		return nil, base.Classify(err, "open "+b.Path)
	}
	return d, nil
}

func (d *Driver) prepare(ctx context.Context) error {
	err := errors.Join(
		base.Mkdir(d.base.Join("v"), 0o711),
		base.Mkdir(d.base.Join("s"), 0o700), // nobody's business
		base.Mkdir(d.base.Join("tmp"), 0o700),
	)
	if err != nil {
		return err
	}
	if err := d.collect(ctx); err != nil {
		return err
	}
	d.reflink, err = tree.Reflinks(d.base.Join("tmp"))
	return err
}

// Name returns "dir".
func (d *Driver) Name() string { return "dir" }

// Capabilities says whether the filesystem shares blocks.
func (d *Driver) Capabilities() storage.Capabilities {
	return storage.Capabilities{Thin: d.reflink, Origins: true}
}

// observe reports what ran from begin until now.
func (d *Driver) observe(verb string, begin time.Time, err error) {
	if d.run != nil && d.run.Observe != nil {
		d.run.Observe("dir", verb, time.Since(begin), err)
	}
}

func (d *Driver) volumeDir(id string) string { return d.base.Join("v", id) }

func (d *Driver) snapshotDir(ref storage.SnapshotRef) string {
	return d.base.Join("s", ref.Source.Volume, ref.ID)
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
	if err := d.base.Begin(ctx); err != nil {
		return storage.Space{}, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(d.base.Path, &st); err != nil {
		return storage.Space{}, base.Classify(err, "space of "+d.base.Path)
	}
	return storage.Space{Total: int64(st.Blocks) * st.Bsize, Free: int64(st.Bavail) * st.Bsize}, nil
}
