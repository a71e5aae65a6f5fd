package btrfs

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/command"
	"github.com/cloned-db/cloned/storage"
	"github.com/cloned-db/cloned/storage/internal/base"
)

// Config says where a Driver keeps its volumes.
type Config struct {
	// Root is the absolute path of an existing directory in a mounted btrfs.
	// Several instances may share it.
	Root string
	// Instance is this installation's mark; it looks like an ID of the storage
	// contract.
	Instance string
	// Run is told of each ioctl as if it were a command named "btrfs".
	Run *command.Runner
}

// Driver implements storage.Driver.
type Driver struct {
	base *base.Base
	fsid uuid
	// image is the file that holds the filesystem; "" if it is on a disk.
	image string
	run   *command.Runner
}

var _ storage.Driver = (*Driver)(nil)

// Open makes a Driver.
func Open(_ context.Context, cfg Config) (*Driver, error) {
	if err := checkRoot(cfg.Root); err != nil {
		return nil, err
	}
	b, err := base.Open(cfg.Root, cfg.Instance)
	if err != nil {
		return nil, err
	}
	d := &Driver{base: b, run: cfg.Run}
	if err := d.prepare(); err != nil {
		return nil, base.Classify(err, "open "+b.Path)
	}
	return d, nil
}

// checkRoot looks before anything is made there.
func checkRoot(root string) error {
	if os.Geteuid() != 0 {
		return errs.New(errs.Precondition, "NOT_ROOT", "the btrfs driver needs root").
			WithHint("run cloned as root, or use the dir driver")
	}
	dir, err := os.Open(root)
	if err != nil {
		return errs.Fieldf("root", "%w", err).WithHint("make it, or mount its filesystem")
	}
	defer dir.Close()
	ok, err := isBtrfs(dir)
	if err == nil && !ok {
		err = errs.Fieldf("root", "%s is not in a btrfs", root).WithHint("mount one there, or use the dir driver")
	}
	return base.Classify(err, "open "+root)
}

func (d *Driver) prepare() error {
	for name, mode := range map[string]os.FileMode{
		"v": 0o711, // a database that runs unprivileged on the host must reach its volume
		"s": 0o700,
		"f": 0o700,
		"t": 0o700,
	} {
		if err := base.Mkdir(d.base.Join(name), mode); err != nil {
			return err
		}
	}
	dir, err := os.Open(d.base.Path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if d.fsid, err = filesystem(dir); err != nil {
		return err
	}
	if d.image, err = imageOf(dir); err != nil {
		return err
	}
	return d.sweepAll()
}

// Name returns "btrfs".
func (d *Driver) Name() string { return "btrfs" }

// Capabilities returns all of them.
func (d *Driver) Capabilities() storage.Capabilities {
	return storage.Capabilities{Thin: true, Foreign: true, Origins: true, Atomic: true}
}

// Space returns the filesystem's; of one in a sparse file no more than can still
// be written there.
func (d *Driver) Space(ctx context.Context) (storage.Space, error) {
	if err := d.base.Begin(ctx); err != nil {
		return storage.Space{}, err
	}
	space, err := spaceOf(d.base.Path)
	if err == nil && d.image != "" {
		var under storage.Space
		under, err = spaceOf(filepath.Dir(d.image))
		space.Free = min(space.Free, under.Free)
	}
	return space, base.Classify(err, "space of "+d.base.Path)
}

func spaceOf(path string) (storage.Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return storage.Space{}, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return storage.Space{Total: int64(st.Blocks) * st.Bsize, Free: int64(st.Bavail) * st.Bsize}, nil
}

// observed runs an ioctl and reports it.
func (d *Driver) observed(verb string, do func() error) error {
	begin := time.Now()
	err := do()
	if d.run != nil && d.run.Observe != nil {
		d.run.Observe("btrfs", verb, time.Since(begin), err)
	}
	return err
}
