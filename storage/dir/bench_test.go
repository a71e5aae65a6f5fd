package dir

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/cloned-db/cloned/internal/need"
	"github.com/cloned-db/cloned/storage"
	"github.com/cloned-db/cloned/storage/storagetest"
)

// BenchmarkClone compares a clone with the bare command, on XFS, for a tree of
// as many files as a PostgreSQL cluster has with a few databases.
func BenchmarkClone(b *testing.B) {
	need.XFS(b)
	d := open(b, storagetest.Filesystem(b, 1<<30, "mkfs.xfs", "-q"), instance)
	v, err := d.Create(b.Context(), "v")
	if err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		name := filepath.Join(v.Path, fmt.Sprintf("relation-%d", i))
		if err := os.WriteFile(name, make([]byte, 64<<10), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	snap, err := d.Snapshot(b.Context(), storage.Own("v"), "s")
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	b.Run("driver", func(b *testing.B) {
		for b.Loop() {
			n++
			if _, err := d.Clone(b.Context(), snap.Ref, "c-"+strconv.Itoa(n)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		from := filepath.Join(d.snapshotDir(snap.Ref), content)
		for b.Loop() {
			n++
			to := filepath.Join(filepath.Dir(d.base.Path), "bare-"+strconv.Itoa(n))
			if out, err := exec.Command("cp", "-a", "--reflink=always", from, to).CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
	})
}
