package zfs

import (
	"os/exec"
	"strconv"
	"testing"
)

// BenchmarkClone is the driver's Clone; BenchmarkBareClone is the command that
// it can't do without.
func BenchmarkClone(b *testing.B) {
	d := newPool(b, 512).open(b, "i-1")
	_, snap := golden(b, d)
	for i := 0; b.Loop(); i++ {
		if _, err := d.Clone(b.Context(), snap, "c-"+strconv.Itoa(i)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBareClone(b *testing.B) {
	d := newPool(b, 512).open(b, "i-1")
	_, snap := golden(b, d)
	origin, err := d.snapshotName(snap)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		if err := exec.Command("zfs", "clone", origin, d.parent+"/c-"+strconv.Itoa(i)).Run(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList lists 200 clones.
func BenchmarkList(b *testing.B) {
	d := newPool(b, 512).open(b, "i-1")
	_, snap := golden(b, d)
	for i := range 200 {
		if _, err := d.Clone(b.Context(), snap, "c-"+strconv.Itoa(i)); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if inv, err := d.List(b.Context(), nil); err != nil || len(inv.Volumes) != 201 {
			b.Fatal(len(inv.Volumes), err)
		}
	}
}
