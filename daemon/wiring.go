package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/container/docker"
	"github.com/cloned-db/cloned/container/process"
	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/database/postgres"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/command"
	"github.com/cloned-db/cloned/storage"
	"github.com/cloned-db/cloned/storage/btrfs"
	"github.com/cloned-db/cloned/storage/dir"
	"github.com/cloned-db/cloned/zfs"
)

// wiring knows the concrete drivers, runtimes and engines: this file is the
// only one that names them.
type wiring struct {
	cfg  Config
	inst *Installation
	run  *command.Runner
	// inUse: there are goldens or clones. Where their volumes are has to be there,
	// and is not made anew: one that is missing is most likely not mounted.
	inUse bool
}

// drivers are the storage drivers, the best first.
func (w wiring) drivers() []option[storage.Driver] {
	return []option[storage.Driver]{
		{DriverZFS, w.cfg.Storage.ZFS.Parent != "", w.zfsParent, w.usableZFS, w.openZFS},
		{DriverBtrfs, w.cfg.Storage.Btrfs.Root+w.cfg.Storage.Btrfs.PoolFile != "", w.btrfsRoot, w.usableBtrfs, w.openBtrfs},
		{DriverDir, w.cfg.Storage.Dir.Root != "", w.dirRoot, w.usableDir, w.openDir},
	}
}

// runtimes are the container runtimes, the best first.
func (w wiring) runtimes() []option[container.Runtime] {
	return []option[container.Runtime]{
		{RuntimeDocker, w.cfg.Runtime.Docker.Host != "", nil, w.usableDocker, w.openDocker},
		{RuntimeProc, false, nil, w.usableProcess, w.openProcess},
	}
}

// engines are the database systems, by name.
func engines() map[string]database.Engine {
	return map[string]database.Engine{control.DefaultEngine: postgres.New()}
}

func (w wiring) usableZFS(ctx context.Context) (string, error) {
	parent, err := w.zfsParent(ctx)
	return "OpenZFS, under " + parent, err
}

func (w wiring) openZFS(ctx context.Context) (storage.Driver, error) {
	parent, err := w.zfsParent(ctx)
	if err != nil {
		return nil, err
	}
	return zfs.Open(ctx, zfs.Config{Parent: parent, Instance: w.inst.Instance, MustExist: w.inUse, Run: w.run})
}

// zfsParent returns the dataset for ours: that of the configuration, or that of
// the first start. Without either there has to be exactly one pool: to pick
// among several is for the operator.
func (w wiring) zfsParent(ctx context.Context) (string, error) {
	if _, err := os.Stat("/dev/zfs"); err != nil {
		return "", errors.New("the kernel has no ZFS loaded")
	}
	if parent := w.cfg.Storage.ZFS.Parent; parent != "" {
		return parent, nil
	}
	if w.inst.Storage.Name == DriverZFS && w.inst.Storage.Place != "" {
		return w.inst.Storage.Place, nil
	}
	out, err := w.run.Run(ctx, "list", "zpool", "list", "-H", "-o", "name")
	if err != nil {
		return "", err
	}
	pools := strings.Fields(string(out))
	switch len(pools) {
	case 0:
		return "", errors.New("there is no pool")
	case 1:
		return pools[0] + "/cloned", nil
	}
	return "", fmt.Errorf("there are several pools (%s): choose with storage.zfs.parent", strings.Join(pools, ", "))
}

func (w wiring) usableBtrfs(ctx context.Context) (string, error) {
	root, pool := w.btrfsPlace()
	if os.Geteuid() != 0 {
		return "", errors.New("it needs root")
	}
	if pool.File == "" {
		return "btrfs, at " + root, nil
	}
	if there, err := exists(pool.File); err != nil || there {
		return "btrfs, in the pool " + pool.File, err
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return "", errors.New("no loop devices for a pool in a file")
	}
	if _, err := w.run.Run(ctx, "find", "mkfs.btrfs", "--version"); err != nil {
		return "", errors.New("mkfs.btrfs does not run: install btrfs-progs")
	}
	return "btrfs, in the pool " + pool.File, nil
}

func (w wiring) openBtrfs(ctx context.Context) (storage.Driver, error) {
	root, pool := w.btrfsPlace()
	if pool.File != "" {
		if err := w.mustExist(pool.File); err != nil {
			return nil, err
		}
		if err := btrfs.EnsurePool(ctx, pool); err != nil {
			return nil, err
		}
	}
	if err := w.ensureRoot(root); err != nil {
		return nil, err
	}
	return btrfs.Open(ctx, btrfs.Config{Root: root, Instance: w.inst.Instance, Run: w.run})
}

// ensureRoot makes a driver's root. The installation's directory in one that is in
// use has to be there.
func (w wiring) ensureRoot(root string) error {
	if err := w.mustExist(filepath.Join(root, w.inst.Instance)); err != nil {
		return err
	}
	return os.MkdirAll(root, 0o711)
}

// mustExist returns an error if the installation is in use and what holds its
// volumes is not there.
func (w wiring) mustExist(path string) error {
	if !w.inUse {
		return nil
	}
	there, err := exists(path)
	if err == nil && !there {
		err = errs.New(errs.Precondition, "VOLUMES_MISSING", "%s, which holds the volumes of this installation's goldens and clones, is not there", path).
			WithHint("mount the filesystem that it is in, or put it back")
	}
	return err
}

func (w wiring) btrfsRoot(context.Context) (string, error) {
	root, _ := w.btrfsPlace()
	return root, nil
}

// btrfsPlace returns where volumes are, and, if that is in a pool of ours, which.
func (w wiring) btrfsPlace() (root string, pool btrfs.PoolConfig) {
	cfg := w.cfg.Storage.Btrfs
	switch {
	case cfg.Root != "":
		return cfg.Root, btrfs.PoolConfig{}
	case cfg.PoolFile == "" && onBtrfs(w.cfg.StateDir):
		return filepath.Join(w.cfg.StateDir, "volumes"), btrfs.PoolConfig{}
	case cfg.PoolFile == "":
		cfg.PoolFile = filepath.Join(w.cfg.StateDir, "pool.btrfs")
	}
	mount := filepath.Join(w.cfg.StateDir, "pool")
	return mount, btrfs.PoolConfig{File: cfg.PoolFile, SizeBytes: int64(cfg.PoolSize), Mount: mount, Run: w.run}
}

// onBtrfs says that the path, or where it would be made, is on btrfs.
func onBtrfs(path string) bool {
	for {
		var fs unix.Statfs_t
		err := unix.Statfs(path, &fs)
		if err == nil || path == filepath.Dir(path) {
			return err == nil && fs.Type == unix.BTRFS_SUPER_MAGIC
		}
		path = filepath.Dir(path)
	}
}

func (w wiring) usableDir(ctx context.Context) (string, error) {
	root, err := w.dirRoot(ctx)
	return "any filesystem, at " + root, err
}

func (w wiring) openDir(ctx context.Context) (storage.Driver, error) {
	root, err := w.dirRoot(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.ensureRoot(root); err != nil {
		return nil, err
	}
	return dir.Open(ctx, dir.Config{Root: root, Instance: w.inst.Instance, Run: w.run})
}

func (w wiring) dirRoot(context.Context) (string, error) {
	if root := w.cfg.Storage.Dir.Root; root != "" {
		return root, nil
	}
	return filepath.Join(w.cfg.StateDir, "volumes"), nil
}

func (w wiring) usableDocker(ctx context.Context) (reason string, err error) {
	if os.Geteuid() != 0 {
		return "", errors.New("only root may set the packet filter that keeps clones from the network")
	}
	rt, err := w.openDocker(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, rt.Close()) }()
	return "a Docker Engine answers", rt.Check(ctx)
}

func (w wiring) openDocker(ctx context.Context) (container.Runtime, error) {
	return docker.Open(ctx, docker.Config{Host: w.cfg.Runtime.Docker.Host, Instance: w.inst.Instance})
}

func (w wiring) usableProcess(context.Context) (string, error) {
	return "plain processes from programs on this host", w.reachable()
}

// reachable returns an error unless the users that processes run as get through
// to the state directory. Containers need not: their volumes are mounted by root.
func (w wiring) reachable() error {
	for dir := filepath.Dir(w.cfg.StateDir); os.Geteuid() == 0 && dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // made when it is needed
		}
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return errs.New(errs.Precondition, "STATE_DIR", "databases run as processes of other users, who can't get through %s to the state directory", dir).
				WithHint("chmod o+x %s, or set state_dir", dir)
		}
	}
	return nil
}

func (w wiring) openProcess(context.Context) (container.Runtime, error) {
	if err := w.reachable(); err != nil {
		return nil, err
	}
	return process.Open(process.Config{Dir: filepath.Join(w.cfg.StateDir, "instances"), Instance: w.inst.Instance})
}

// removePool removes the pool that openBtrfs made in a file, if it did.
func (w wiring) removePool(ctx context.Context, driver string, log *slog.Logger) error {
	_, pool := w.btrfsPlace()
	if driver != DriverBtrfs || pool.File == "" {
		return nil
	}
	if err := btrfs.RemovePool(ctx, pool, w.inst.Instance); err != nil {
		return err
	}
	log.InfoContext(ctx, "removed the pool", "file", pool.File)
	return nil
}
