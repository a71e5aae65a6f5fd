package zfs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cloned-db/cloned/storage"
)

// Only the mark makes a snapshot with the comparison's name ours to destroy.
func TestAComparisonDestroysOnlyItsOwn(t *testing.T) {
	p := newPool(t, 64)
	d := p.open(t, "i-1")
	_, snap := golden(t, d)
	if _, err := d.Clone(t.Context(), snap, "c-1"); err != nil {
		t.Fatal(err)
	}
	theirs := d.temporaryName("c-1")
	sh(t, "zfs", "snapshot", theirs)
	if list, err := d.Changed(t.Context(), snap, "c-1"); !hasReason(err, storage.ReasonForeign) {
		t.Errorf("Changed: %+v, %v", list, err)
	}
	if err := d.Destroy(t.Context(), "c-1"); !hasReason(err, storage.ReasonHasDependents) {
		t.Errorf("Destroy: %v", err)
	}
	p.open(t, "i-1")
	if !exists(t, theirs) {
		t.Error("it is gone")
	}
}

// What is looked into by somebody else can't be destroyed now; that keeps neither
// the driver from opening nor the next comparison from its work.
func TestAComparisonsSnapshotInUse(t *testing.T) {
	p := newPool(t, 64)
	d := p.open(t, "i-1")
	v, snap := golden(t, d)
	if _, err := d.bear(t.Context(), "snapshot", d.temporaryName("g-1")); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(v.Path, ".zfs", "snapshot", "cloned-i-1-"+temporaryID, "rows"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d = p.open(t, "i-1")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if list, err := d.Changed(t.Context(), snap, "g-1"); err != nil || len(list) != 0 {
		t.Errorf("Changed: %+v, %v", list, err)
	}
	if exists(t, d.temporaryName("g-1")) {
		t.Error("it is still there")
	}
}
