package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/command"
	"github.com/cloned-db/cloned/storage/internal/base"
)

// minPoolSize is the least that EnsurePool makes by default, in bytes: less
// holds no database worth cloning.
const minPoolSize = 512 << 20

// poolBlock is the block size of a pool's loop device and a divisor of its size,
// in bytes: that of every disk's, so that direct I/O always works.
const poolBlock = 4096

// PoolConfig says what a pool in a file is like.
type PoolConfig struct {
	// File is the absolute path of the sparse file that holds the pool.
	File string
	// SizeBytes is the pool's size when it is made; 0 means half of what is free
	// where File lies. The file takes only what is written to it.
	SizeBytes int64
	// Mount is the absolute path of the directory at which the pool is mounted;
	// it is made.
	Mount string
	// Run runs mkfs.btrfs. It must not be nil.
	Run *command.Runner
}

// EnsurePool makes the pool if its file is absent, and mounts it if it is not
// mounted, as after a reboot. Whenever it dies, calling it again goes on.
//
// Data keeps its checksums and its copy-on-write: without the latter ("nodatacow",
// often advised for databases) the first write to each block after a snapshot
// copies it all the same, and torn pages are no longer excluded. Metadata is kept
// once ("single"): a second copy in the same file would double the writes and
// protect from little. There is no compression: pages of 8 KiB gain little by
// it, and each change of one would rewrite a compressed extent. noatime: reading
// a clone must not write. discard=async: what clones free, the file frees.
// commit=5: a destroyed volume's space can be used again after two commits of the
// filesystem, which by default are 30 s apart.
func EnsurePool(ctx context.Context, cfg PoolConfig) error {
	unlock, err := cfg.begin()
	if err != nil {
		return err
	}
	defer unlock()
	return base.Classify(cfg.ensure(ctx), "pool "+cfg.File)
}

// begin checks the configuration and excludes other processes.
func (cfg PoolConfig) begin() (unlock func() error, err error) {
	if os.Geteuid() != 0 {
		return nil, errs.New(errs.Precondition, "NOT_ROOT", "a btrfs pool needs root").
			WithHint("run cloned as root, or use the dir driver")
	}
	for field, path := range map[string]string{"file": cfg.File, "mount": cfg.Mount} {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path {
			return nil, errs.Fieldf(field, "%q is not an absolute path in its shortest form", path)
		}
	}
	dir := filepath.Dir(cfg.File)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, base.Classify(err, "pool "+cfg.File)
	}
	// Two mounts of one file would be two writers of one filesystem.
	f, err := os.Open(dir)
	if err != nil {
		return nil, base.Classify(err, "pool "+cfg.File)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(errs.New(errs.Unavailable, "POOL_BUSY", "another process works on the pool %s: %w", cfg.File, err), f.Close())
	}
	return f.Close, nil
}

func (cfg PoolConfig) ensure(ctx context.Context) error {
	mounted, err := cfg.mounted()
	if err != nil || mounted {
		return err
	}
	info, err := os.Lstat(cfg.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = cfg.makeFile(ctx)
	case err == nil && !info.Mode().IsRegular():
		err = errs.Fieldf("file", "%s is not a regular file", cfg.File)
	}
	if err != nil {
		return err
	}
	return cfg.mount()
}

// mounted reports whether the pool is mounted where it should be. It is an
// error if something else is there.
func (cfg PoolConfig) mounted() (bool, error) {
	dir, err := os.Open(cfg.Mount)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer dir.Close()
	info, err := describe(dir)
	if err == nil && info.treeID == topLevel {
		image, err := imageOf(dir)
		if err != nil {
			return false, err
		}
		if sameFile(image, cfg.File) {
			return true, nil
		}
	} else if err != nil && !errors.Is(err, errNotSubvolume) {
		return false, err
	}
	entries, err := dir.ReadDir(1)
	if len(entries) > 0 {
		return false, errs.New(errs.Precondition, "MOUNT_IN_USE", "%s holds something, and it is not the pool %s", cfg.Mount, cfg.File).
			WithHint("empty the directory, or mount the pool elsewhere")
	}
	return false, ignoreEOF(err)
}

// makeFile makes the pool under another name first: a file that has the pool's
// name is a whole pool.
func (cfg PoolConfig) makeFile(ctx context.Context) error {
	size, err := cfg.size()
	if err != nil {
		return err
	}
	half := cfg.half()
	if err := os.Remove(half); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = makeSparse(half, size)
	if err == nil {
		_, err = cfg.Run.Run(ctx, "mkfs", "mkfs.btrfs", "--quiet", "--data", "single", "--metadata", "single", half)
	}
	if errors.Is(err, exec.ErrNotFound) {
		err = errs.New(errs.Precondition, "TOOL_MISSING", "%w", err).WithHint("install btrfs-progs")
	}
	if err == nil {
		err = persist(half)
	}
	if err == nil {
		err = os.Rename(half, cfg.File)
	}
	if err != nil {
		return errors.Join(err, removeIfThere(half))
	}
	return persist(filepath.Dir(cfg.File))
}

// half is the name of a pool that is being made.
func (cfg PoolConfig) half() string { return cfg.File + ".unfinished" }

func (cfg PoolConfig) size() (int64, error) {
	if cfg.SizeBytes != 0 {
		return cfg.SizeBytes &^ (poolBlock - 1), nil
	}
	space, err := spaceOf(filepath.Dir(cfg.File))
	if err != nil {
		return 0, err
	}
	size := space.Free / 2
	if size < minPoolSize {
		return 0, errs.New(errs.Exhausted, "POOL_TOO_SMALL", "%d MiB are free in %s, too little for a pool", space.Free>>20, filepath.Dir(cfg.File)).
			WithHint("free some space, or configure another file or a size")
	}
	return size &^ (poolBlock - 1), nil
}

func (cfg PoolConfig) mount() error {
	if err := os.MkdirAll(cfg.Mount, 0o755); err != nil {
		return err
	}
	if err := mountImage(cfg.File, cfg.Mount); err != nil {
		return err
	}
	mounted, err := cfg.mounted()
	if err == nil && !mounted {
		err = fmt.Errorf("%s is not mounted at %s although mounting succeeded", cfg.File, cfg.Mount)
	}
	return err
}

// RemovePool unmounts the pool and removes its file with all that the instance
// has in it. It refuses with errs.Precondition, and changes nothing, if there is
// anything else, and with errs.Unavailable while something is in use. It is no
// error if there is no pool.
func RemovePool(ctx context.Context, cfg PoolConfig, instance string) error {
	unlock, err := cfg.begin()
	if err != nil {
		return err
	}
	defer unlock()
	return base.Classify(cfg.remove(ctx, instance), "remove pool "+cfg.File)
}

func (cfg PoolConfig) remove(ctx context.Context, instance string) error {
	_, err := os.Lstat(cfg.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		if err := cfg.ensure(ctx); err != nil {
			return err
		}
		if err := cfg.checkOnly(instance); err != nil {
			return err
		}
		if err := unix.Unmount(cfg.Mount, unix.UMOUNT_NOFOLLOW); errors.Is(err, unix.EBUSY) {
			return errs.New(errs.Unavailable, "POOL_BUSY", "%s is in use", cfg.Mount).
				WithHint("stop the containers and programs that use it")
		} else if err != nil {
			return &fs.PathError{Op: "unmount", Path: cfg.Mount, Err: err}
		}
	}
	return errors.Join(removeIfThere(cfg.half()), removeIfThere(cfg.File), removeIfThere(cfg.Mount))
}

// checkOnly returns an error if the pool holds anything but the instance's.
func (cfg PoolConfig) checkOnly(instance string) error {
	entries, err := os.ReadDir(cfg.Mount)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() != instance {
			return errs.New(errs.Precondition, "POOL_IN_USE", "the pool holds %s, which is not this installation's",
				filepath.Join(cfg.Mount, entry.Name())).WithHint("move it away, or remove the pool by hand")
		}
	}
	return nil
}
