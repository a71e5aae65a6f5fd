package btrfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/command"
	"github.com/cloned-db/cloned/internal/need"
	"github.com/cloned-db/cloned/storage"
	"github.com/cloned-db/cloned/storage/storagetest"
)

func TestPoolLife(t *testing.T) {
	need.Btrfs(t)
	cfg := pool(t, 256<<20)
	if _, err := open(t, cfg.Mount, instance).Create(t.Context(), "v"); err != nil {
		t.Fatal(err)
	}
	// Once more, while it is mounted; then as after a reboot.
	for _, reboot := range []bool{false, true} {
		if reboot {
			unmount(t, cfg.Mount)
		}
		if err := EnsurePool(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if mounts := mountsAt(t, cfg.Mount); mounts != 1 {
			t.Fatalf("%d mounts", mounts)
		}
		if _, err := open(t, cfg.Mount, instance).Stat(t.Context(), "v"); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := RemovePool(t.Context(), cfg, instance); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(cfg.File)); err != nil || len(left) != 0 {
		t.Errorf("RemovePool left %v, %v", left, err)
	}
}

// mountsAt counts what is mounted at a path.
func mountsAt(t *testing.T, path string) int {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(mounts), " "+path+" ")
}

// TestPoolUnfinished: what a mkfs that died left is not taken for a pool.
func TestPoolUnfinished(t *testing.T) {
	need.Btrfs(t)
	dir := t.TempDir()
	cfg := PoolConfig{File: filepath.Join(dir, "pool"), SizeBytes: 256 << 20, Mount: filepath.Join(dir, "mount"), Run: new(command.Runner)}
	if err := os.WriteFile(cfg.half(), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount(t, cfg.Mount) })
	if err := EnsurePool(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(cfg.half()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the unfinished pool is still there: %v", err)
	}
}

func TestEnsurePoolRefuses(t *testing.T) {
	need.Btrfs(t)
	run := new(command.Runner)
	full, dir := t.TempDir(), t.TempDir()
	precious := filepath.Join(full, "precious")
	if err := os.WriteFile(precious, []byte("not a pool"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		cfg  PoolConfig
		kind errs.Kind
	}{
		{"relative file", PoolConfig{File: "pool", Mount: filepath.Join(dir, "m")}, errs.Invalid},
		{"relative mount", PoolConfig{File: filepath.Join(dir, "p"), Mount: "m"}, errs.Invalid},
		{"a mount with files", PoolConfig{File: filepath.Join(dir, "p"), SizeBytes: 256 << 20, Mount: full}, errs.Precondition},
		{"a directory as file", PoolConfig{File: full, Mount: filepath.Join(dir, "m")}, errs.Invalid},
		{"a file that is no pool", PoolConfig{File: precious, Mount: filepath.Join(dir, "m")}, errs.Precondition},
		{"a size too small", PoolConfig{File: filepath.Join(dir, "p"), SizeBytes: 1 << 20, Mount: filepath.Join(dir, "m")}, errs.Internal},
	} {
		c.cfg.Run = run
		if err := EnsurePool(t.Context(), c.cfg); err == nil || errs.KindOf(err) != c.kind {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if b, err := os.ReadFile(precious); err != nil || string(b) != "not a pool" {
		t.Errorf("the file that is no pool holds %q, %v", b, err)
	}
	for _, name := range []string{"p", "p.unfinished"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was left: %v", name, err)
		}
	}
}

func TestRemovePoolRefuses(t *testing.T) {
	need.Btrfs(t)
	cfg := pool(t, 256<<20)
	d := open(t, cfg.Mount, instance)
	v, err := d.Create(t.Context(), "v")
	if err != nil {
		t.Fatal(err)
	}
	others := filepath.Join(cfg.Mount, "others")
	btrfs(t, "subvolume", "create", others)
	if err := RemovePool(t.Context(), cfg, instance); !errs.Is(err, errs.Precondition) {
		t.Errorf("with a stranger in the pool: %v", err)
	}
	btrfs(t, "subvolume", "delete", others)
	used, err := os.Create(filepath.Join(v.Path, "used"))
	if err != nil {
		t.Fatal(err)
	}
	if err := RemovePool(t.Context(), cfg, instance); !errs.Is(err, errs.Unavailable) {
		t.Errorf("with a file open: %v", err)
	}
	if err := used.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Stat(t.Context(), "v"); err != nil {
		t.Errorf("after refused removals: %v", err)
	}
	if err := RemovePool(t.Context(), cfg, instance); err != nil {
		t.Error(err)
	}
}

// TestSparsePoolSpace: a pool that is larger than the filesystem under it has no
// more space than that.
func TestSparsePoolSpace(t *testing.T) {
	need.Btrfs(t)
	under := storagetest.Filesystem(t, 64<<20, "mkfs.ext4", "-q")
	cfg := PoolConfig{File: filepath.Join(under, "pool"), SizeBytes: 10 << 30, Mount: filepath.Join(t.TempDir(), "mount"), Run: new(command.Runner)}
	t.Cleanup(func() { unmount(t, cfg.Mount) })
	if err := EnsurePool(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	var d storage.Driver = open(t, cfg.Mount, instance)
	space, err := d.Space(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if space.Total != 10<<30 || space.Free <= 0 || space.Free > 64<<20 {
		t.Errorf("%+v", space)
	}
}

func TestDefaultPoolSize(t *testing.T) {
	need.Btrfs(t)
	cfg := pool(t, 0)
	space, err := spaceOf(filepath.Dir(cfg.File))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(cfg.File)
	if err != nil {
		t.Fatal(err)
	}
	if size := info.Size(); size < space.Free/4 || size > space.Free {
		t.Errorf("the pool has %d bytes, free are %d", size, space.Free)
	}
	small := storagetest.Filesystem(t, 64<<20, "mkfs.ext4", "-q")
	cfg = PoolConfig{File: filepath.Join(small, "pool"), Mount: filepath.Join(t.TempDir(), "mount"), Run: new(command.Runner)}
	if err := EnsurePool(t.Context(), cfg); !errs.Is(err, errs.Exhausted) {
		t.Errorf("where too little is free: %v", err)
	}
}
