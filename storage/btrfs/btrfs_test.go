package btrfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/command"
	"github.com/cloned-db/cloned/internal/need"
	"github.com/cloned-db/cloned/storage"
	"github.com/cloned-db/cloned/storage/storagetest"
)

const instance = "k3v9x2m1"

// counted is a Driver that counts what it does.
type counted struct {
	*Driver
	n *atomic.Int64
}

func open(t testing.TB, root, instance string) counted {
	t.Helper()
	n := new(atomic.Int64)
	run := &command.Runner{Observe: func(string, string, time.Duration, error) { n.Add(1) }}
	d, err := Open(t.Context(), Config{Root: root, Instance: instance, Run: run})
	if err != nil {
		t.Fatal(err)
	}
	return counted{d, n}
}

// pool makes a pool that goes with the test.
func pool(t testing.TB, size int64) PoolConfig {
	t.Helper()
	dir := t.TempDir()
	cfg := PoolConfig{File: filepath.Join(dir, "pool"), SizeBytes: size, Mount: filepath.Join(dir, "mount"), Run: new(command.Runner)}
	if err := EnsurePool(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount(t, cfg.Mount) })
	return cfg
}

// unmount unmounts what is there, if anything: in any case, so that nothing
// stays behind when a test failed.
func unmount(t testing.TB, dir string) {
	t.Helper()
	err := unix.Unmount(dir, 0)
	if err == unix.EBUSY {
		t.Errorf("%s is in use", dir)
		err = unix.Unmount(dir, unix.MNT_DETACH)
	}
	if err != nil && err != unix.EINVAL && err != unix.ENOENT {
		t.Errorf("unmount %s: %v", dir, err)
	}
}

func mkdirTemp(t testing.TB, dir string) string {
	t.Helper()
	path, err := os.MkdirTemp(dir, "root-")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// command runs the tool that everybody else uses.
func btrfs(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("btrfs", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("btrfs %q: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestConformance(t *testing.T) {
	need.Btrfs(t)
	mount := pool(t, 2<<30).Mount
	other := pool(t, 128<<20).Mount
	root := func(d storage.Driver) string { return filepath.Dir(d.(counted).base.Path) }
	storagetest.Run(t, storagetest.Config{
		New:      func(t *testing.T) storage.Driver { return open(t, mkdirTemp(t, mount), instance) },
		Full:     func(t *testing.T) storage.Driver { return open(t, pool(t, 128<<20).Mount, instance) },
		Reopen:   func(t *testing.T, d storage.Driver) storage.Driver { return open(t, root(d), instance) },
		Other:    func(t *testing.T, d storage.Driver) storage.Driver { return open(t, root(d), "other") },
		Stranger: stranger,
		Foreign:  foreign,
		NotForeign: func(t *testing.T, d storage.Driver) []string {
			if _, err := d.Create(t.Context(), "own"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unmount(t, other) })
			btrfs(t, "subvolume", "create", filepath.Join(other, "elsewhere"))
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(mount, link); err != nil {
				t.Fatal(err)
			}
			if err := d.Destroy(t.Context(), "own"); err != nil {
				t.Fatal(err)
			}
			base := d.(counted).base.Path
			return []string{
				other, filepath.Join(other, "elsewhere"), base, filepath.Join(base, "v", "own"), t.TempDir(), link,
				mount + "/", "/" + strings.Repeat("long/", 50) + "path",
			}
		},
		Comparison: &storagetest.Comparison{
			Leave: func(t *testing.T, d storage.Driver, volume string) {
				base := d.(counted).base
				btrfs(t, "subvolume", "snapshot", "-r", base.Join("v", volume), base.Join("t", volume))
			},
			Left: func(t *testing.T, d storage.Driver, volume string) bool {
				_, err := os.Lstat(d.(counted).base.Join("t", volume))
				return err == nil
			},
		},
		Commands:    func(d storage.Driver) int64 { return d.(counted).n.Load() },
		HotCommands: 1,
	})
}

// stranger puts directories and subvolumes beside and between the driver's.
func stranger(t *testing.T, d storage.Driver, id string) (present func() bool) {
	base := d.(counted).base.Path
	dirs := []string{filepath.Join(base, "v", id), filepath.Join(base, "s", "dir", "s"), filepath.Join(base, "f", "x", "s")}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	subvolumes := []string{
		filepath.Join(filepath.Dir(base), "subvolume"),
		filepath.Join(base, "v", "a.b"),
		filepath.Join(base, "s", "dir", "writable"),
		filepath.Join(base, "f", "x", "y"),
	}
	for _, s := range subvolumes {
		btrfs(t, "subvolume", "create", s)
	}
	return func() bool {
		for _, path := range append(dirs, subvolumes...) {
			if _, err := os.Stat(path); err != nil {
				t.Log(err)
				return false
			}
		}
		return true
	}
}

func foreign(t *testing.T, d storage.Driver) storagetest.Foreign {
	root := filepath.Dir(d.(counted).base.Path)
	path, snapshots := filepath.Join(root, "replica 100%"), filepath.Join(root, "replica-snapshots")
	btrfs(t, "subvolume", "create", path)
	if err := os.Mkdir(snapshots, 0o755); err != nil {
		t.Fatal(err)
	}
	return storagetest.Foreign{
		Name: path, Path: path,
		Snapshot: func(t *testing.T, name string) {
			btrfs(t, "subvolume", "snapshot", "-r", path, filepath.Join(snapshots, name))
		},
		Snapshots: func(t *testing.T) []string {
			entries, err := os.ReadDir(snapshots)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, e := range entries {
				names = append(names, e.Name())
			}
			return names
		},
	}
}

// TestNested: subvolumes that somebody made in a volume, also in one another or
// protected from writing, go with it.
func TestNested(t *testing.T) {
	need.Btrfs(t)
	mount := pool(t, 256<<20).Mount
	d := open(t, mount, instance)
	v, err := d.Create(t.Context(), "v")
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(mount, "outside")
	btrfs(t, "subvolume", "create", outside)
	deep := filepath.Join(v.Path, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	btrfs(t, "subvolume", "create", filepath.Join(deep, "sub"))
	btrfs(t, "subvolume", "create", filepath.Join(deep, "sub", "inner"))
	btrfs(t, "subvolume", "snapshot", "-r", outside, filepath.Join(deep, "read-only"))
	if err := os.Symlink(outside, filepath.Join(deep, "link")); err != nil {
		t.Fatal(err)
	}
	// Snapshots leave nested subvolumes out, and so do clones.
	snap, err := d.Snapshot(t.Context(), storage.Own("v"), "s")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Clone(t.Context(), snap.Ref, "c"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{d.Destroy(t.Context(), "c"), d.DestroySnapshot(t.Context(), snap.Ref), d.Destroy(t.Context(), "v")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if left := btrfs(t, "subvolume", "list", mount); strings.Count(left, "\n") != 1 || !strings.Contains(left, "path outside") {
		t.Errorf("left are:\n%s", left)
	}
}

// TestForeignReplaced: a subvolume that took the place of another is not it.
func TestForeignReplaced(t *testing.T) {
	need.Btrfs(t)
	mount := pool(t, 256<<20).Mount
	d := open(t, mount, instance)
	path := filepath.Join(mount, "replica")
	src := storage.Source{Foreign: path}
	btrfs(t, "subvolume", "create", path)
	if _, err := d.Snapshot(t.Context(), src, "s"); err != nil {
		t.Fatal(err)
	}
	btrfs(t, "subvolume", "delete", path)
	btrfs(t, "subvolume", "create", path)
	if _, err := d.Snapshot(t.Context(), src, "s"); !errs.Is(err, errs.Exists) {
		t.Errorf("Snapshot: %v", err)
	}
	btrfs(t, "subvolume", "delete", path)
	if inv, err := d.List(t.Context(), nil); err != nil || len(inv.Snapshots) != 1 {
		t.Errorf("List without the foreign subvolume: %+v, %v", inv, err)
	}
	if err := d.DestroySnapshot(t.Context(), storage.SnapshotRef{Source: src, ID: "s"}); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	need.Btrfs(t)
	mount := pool(t, 256<<20).Mount
	for _, cfg := range []Config{
		{Root: "relative", Instance: instance},
		{Root: filepath.Join(mount, "none"), Instance: instance},
		{Root: "/proc", Instance: instance},
		{Root: mount, Instance: "../x"},
		{Root: mount},
	} {
		if _, err := Open(t.Context(), cfg); !errs.Is(err, errs.Invalid) {
			t.Errorf("Open(%+v): %v", cfg, err)
		}
	}
	if entries, err := os.ReadDir(mount); err != nil || len(entries) != 0 {
		t.Errorf("what was refused left %v, %v", entries, err)
	}
}

// TestUnmounted: a pool that went away is not a pool without volumes.
func TestUnmounted(t *testing.T) {
	need.Btrfs(t)
	cfg := pool(t, 256<<20)
	d := open(t, cfg.Mount, instance)
	if _, err := d.Create(t.Context(), "v"); err != nil {
		t.Fatal(err)
	}
	unmount(t, cfg.Mount)
	if inv, err := d.List(t.Context(), nil); !errs.Is(err, errs.Unavailable) {
		t.Errorf("List: %+v, %v", inv, err)
	}
	if _, err := d.Stat(t.Context(), "v"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("Stat: %v", err)
	}
	if err := EnsurePool(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, cfg.Mount, instance).Stat(t.Context(), "v"); err != nil {
		t.Errorf("Stat after mounting again: %v", err)
	}
}
