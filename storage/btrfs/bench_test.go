package btrfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/cloned-db/cloned/internal/need"
	"github.com/cloned-db/cloned/storage"
)

// BenchmarkClone compares a clone with the bare command.
func BenchmarkClone(b *testing.B) {
	d, snap := furnished(b)
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
		for b.Loop() {
			n++
			out, err := exec.Command("btrfs", "subvolume", "snapshot", d.base.Join("s", "v", "s"), d.base.Join("v", "c-"+strconv.Itoa(n))).CombinedOutput()
			if err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
	})
}

// BenchmarkUsage measures a clone of a volume with many files.
func BenchmarkUsage(b *testing.B) {
	d, snap := furnished(b)
	for i := range 200 {
		if _, err := d.Clone(b.Context(), snap.Ref, "c-"+strconv.Itoa(i)); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := d.Usage(b.Context(), "c-0"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkChanged writes a page to one of a thousand files and asks which.
func BenchmarkChanged(b *testing.B) {
	d, snap := furnished(b)
	c, err := d.Clone(b.Context(), snap.Ref, "c")
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(c.Path, "relation-500"), os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for b.Loop() {
		if _, err := f.WriteAt(make([]byte, 8<<10), 64<<10); err != nil {
			b.Fatal(err)
		}
		if list, err := d.Changed(b.Context(), snap.Ref, "c"); err != nil || len(list) != 1 {
			b.Fatal(list, err)
		}
	}
}

// furnished makes a volume with as many files as a PostgreSQL cluster of a few
// databases, and a snapshot of it.
func furnished(b *testing.B) (counted, storage.Snapshot) {
	need.Btrfs(b)
	d := open(b, pool(b, 4<<30).Mount, instance)
	v, err := d.Create(b.Context(), "v")
	if err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		if err := os.WriteFile(filepath.Join(v.Path, "relation-"+strconv.Itoa(i)), make([]byte, 256<<10), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	snap, err := d.Snapshot(b.Context(), storage.Own("v"), "s")
	if err != nil {
		b.Fatal(err)
	}
	return d, snap
}
