package zfs

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloned-db/cloned/internal/command"
	"github.com/cloned-db/cloned/internal/need"
)

// pool is a real pool on a disk that is a file in dir, or a device over it.
type pool struct {
	name, dir, disk string
}

// newPool makes a pool of so many MiB that lives as long as the test.
func newPool(t testing.TB, mib int64) pool {
	t.Helper()
	return newPoolOn(t, mib, nil)
}

// newPoolOn makes a pool on the device that wrap makes of the pool's file.
func newPoolOn(t testing.TB, mib int64, wrap func(pool) string) pool {
	t.Helper()
	need.ZFS(t)
	random := make([]byte, 6)
	if _, err := rand.Read(random); err != nil {
		t.Fatal(err)
	}
	p := pool{name: "clonedtest" + hex.EncodeToString(random), dir: t.TempDir()}
	p.disk = filepath.Join(p.dir, "disk")
	if err := os.WriteFile(p.disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(p.disk, mib<<20); err != nil {
		t.Fatal(err)
	}
	if wrap != nil {
		p.disk = wrap(p)
	}
	sh(t, "zpool", "create", "-o", "cachefile=none", "-m", p.mountpoint(), p.name, p.disk)
	t.Cleanup(func() {
		// A test may have exported it and failed before importing it again.
		if exec.Command("zpool", "list", p.name).Run() != nil {
			p.imported(t)
		}
		sh(t, "zpool", "destroy", "-f", p.name)
	})
	return p
}

func (p pool) mountpoint() string { return filepath.Join(p.dir, "mnt") }
func (p pool) parent() string     { return p.name + "/cloned" }

func (p pool) exported(t testing.TB) { t.Helper(); sh(t, "zpool", "export", "-f", p.name) }
func (p pool) imported(t testing.TB) {
	t.Helper()
	sh(t, "zpool", "import", "-o", "cachefile=none", "-d", p.dir, p.name)
}

// open opens the pool's parent for the instance.
func (p pool) open(t testing.TB, instance string) *Driver {
	t.Helper()
	return reopen(t, p.parent(), instance)
}

// reopen makes another driver value whose commands are counted.
func reopen(t testing.TB, parent, instance string) *Driver {
	t.Helper()
	d, err := Open(t.Context(), Config{Parent: parent, Instance: instance, Run: counted(new(atomic.Int64))})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// counted returns a runner that counts its commands in n.
func counted(n *atomic.Int64) *command.Runner {
	return &command.Runner{Observe: func(_, _ string, _ time.Duration, _ error) { n.Add(1) }}
}

// sh runs a command that must succeed and returns its output.
func sh(t testing.TB, argv ...string) string {
	t.Helper()
	var out, complaints bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, &complaints)
	}
	return strings.TrimSpace(out.String())
}

// exists reports whether zfs knows a dataset; the pool must be there.
func exists(t testing.TB, name string) bool {
	t.Helper()
	sh(t, "zfs", "list", poolOf(name))
	return exec.Command("zfs", "list", name).Run() == nil
}
