package dir

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/command"
	"github.com/cloned-db/cloned/internal/need"
	"github.com/cloned-db/cloned/internal/tree"
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

// root makes a root of its own within a filesystem, removed after the test.
func root(t testing.TB, filesystem string) string {
	t.Helper()
	dir, err := os.MkdirTemp(filesystem, "root-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// conform runs the suite in a directory of some filesystem, with another
// directory of a small one to fill.
func conform(t *testing.T, filesystem, small string, thin bool) {
	storagetest.Run(t, storagetest.Config{
		New: func(t *testing.T) storage.Driver {
			d := open(t, root(t, filesystem), instance)
			if d.Capabilities().Thin != thin {
				t.Fatalf("thin is %v, want %v", !thin, thin)
			}
			return d
		},
		Full: func(t *testing.T) storage.Driver { return open(t, root(t, small), instance) },
		Reopen: func(t *testing.T, d storage.Driver) storage.Driver {
			return open(t, filepath.Dir(d.(counted).base.Path), instance)
		},
		Other: func(t *testing.T, d storage.Driver) storage.Driver {
			return open(t, filepath.Dir(d.(counted).base.Path), "other")
		},
		Stranger: stranger,
		Leftover: leftover,
		Commands: func(d storage.Driver) int64 { return d.(counted).n.Load() },
		// The copy itself.
		HotCommands: 1,
	})
}

// stranger puts directories and files beside and between the driver's.
func stranger(t *testing.T, d storage.Driver, id string) (present func() bool) {
	base := d.(counted).base.Path
	files := []string{
		filepath.Join(filepath.Dir(base), "v", id, "data", "precious"),
		filepath.Join(base, "v", id, "precious"),
		filepath.Join(base, "s", id, "s", "precious"),
		filepath.Join(base, "v", "a.b", "data", "precious"),
		filepath.Join(base, "v", "a-file"),
	}
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func() bool {
		for _, f := range files {
			if _, err := os.Stat(f); err != nil {
				t.Log(err)
				return false
			}
		}
		return true
	}
}

// leftover is a clone half copied and a removal half done.
func leftover(t *testing.T, d storage.Driver, id string) {
	c := d.(counted)
	w := c.volumeWork(id)
	for _, dir := range []string{c.building(w), c.removing(w)} {
		if err := os.MkdirAll(filepath.Join(dir, content), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, content, "half"), nil, 0o400); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPlain(t *testing.T) {
	need.Root(t)
	conform(t, storagetest.Filesystem(t, 1<<30, "mkfs.ext4", "-q"), storagetest.Filesystem(t, 16<<20, "mkfs.ext4", "-q"), false)
}

func TestXFS(t *testing.T) {
	need.XFS(t)
	mkfs := []string{"mkfs.xfs", "-q"}
	conform(t, storagetest.Filesystem(t, 1<<30, mkfs...), storagetest.Filesystem(t, 300<<20, mkfs...), true)
}

func TestBtrfs(t *testing.T) {
	need.Btrfs(t)
	conform(t, storagetest.Filesystem(t, 1<<30, "mkfs.btrfs", "-q"), storagetest.Filesystem(t, 64<<20, "mkfs.btrfs", "-q", "--mixed"), true)
}

// TestUnprivileged runs the suite again as a user who is nobody.
func TestUnprivileged(t *testing.T) {
	const handOver = "CLONED_TEST_UNPRIVILEGED"
	if dirs := os.Getenv(handOver); dirs != "" {
		big, small, _ := strings.Cut(dirs, ":")
		conform(t, big, small, false)
		return
	}
	need.Root(t)
	const nobody = 65534
	big := storagetest.Filesystem(t, 1<<30, "mkfs.ext4", "-q", "-E", "root_owner=65534:65534")
	small := storagetest.Filesystem(t, 16<<20, "mkfs.ext4", "-q", "-m", "0", "-E", "root_owner=65534:65534")
	// What t.TempDir makes is for root only.
	for _, dir := range []string{filepath.Dir(big), filepath.Dir(filepath.Dir(big)), filepath.Dir(small)} {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(filepath.Dir(big), "test")
	if err := os.WriteFile(copied, program, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), copied, "-test.run=^TestUnprivileged$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), handOver+"="+big+":"+small, "TMPDIR="+big)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []Config{
		{Root: "relative", Instance: instance},
		{Root: "/no/such/directory", Instance: instance},
		{Root: file, Instance: instance},
		{Root: t.TempDir(), Instance: "../x"},
		{Root: t.TempDir()},
	} {
		if _, err := Open(t.Context(), cfg); !errs.Is(err, errs.Invalid) {
			t.Errorf("Open(%+v): %v", cfg, err)
		}
	}
}

// TestUnmounted: a root that went away is not a root without volumes.
func TestUnmounted(t *testing.T) {
	d := open(t, t.TempDir(), instance)
	if _, err := d.Create(t.Context(), "v"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(d.base.Path, d.base.Path+"-away"); err != nil {
		t.Fatal(err)
	}
	again := open(t, filepath.Dir(d.base.Path), instance)
	if _, err := again.List(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if inv, err := d.List(t.Context(), nil); !errs.Is(err, errs.Unavailable) {
		t.Errorf("List: %+v, %v", inv, err)
	}
	if _, err := d.Stat(t.Context(), "v"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("Stat: %v", err)
	}
	if err := d.Destroy(t.Context(), "v"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("Destroy: %v", err)
	}
}

// TestOpenWhileBusy: opening takes nothing away from a call under way.
func TestOpenWhileBusy(t *testing.T) {
	d := open(t, t.TempDir(), instance)
	err := d.build(d.volumeWork("v"), "create", func(dir string) error {
		open(t, filepath.Dir(d.base.Path), instance)
		return os.Mkdir(filepath.Join(dir, content), 0o755)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Stat(t.Context(), "v"); err != nil {
		t.Fatal(err)
	}
}

// TestNothingLeft: neither a call that fails nor one that died leaves anything
// in tmp, which nobody else looks at.
func TestNothingLeft(t *testing.T) {
	d := open(t, t.TempDir(), instance)
	v, err := d.Create(t.Context(), "v")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(v.Path, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = d.build(d.volumeWork("broken-off"), "clone", func(dir string) error {
		cancel()
		return tree.Copy(ctx, v.Path, filepath.Join(dir, content), false)
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	wantEmptyTmp(t, d)
	leftover(t, d, "died")
	open(t, filepath.Dir(d.base.Path), instance)
	wantEmptyTmp(t, d)
}

func wantEmptyTmp(t *testing.T, d counted) {
	t.Helper()
	entries, err := os.ReadDir(d.base.Join("tmp"))
	if err != nil || len(entries) != 0 {
		t.Fatalf("tmp holds %v, %v", entries, err)
	}
}
