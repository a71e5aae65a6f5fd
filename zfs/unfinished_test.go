package zfs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

func TestAnUnfinishedCreateIsFinishedOrDestroyed(t *testing.T) {
	d := newPool(t, 64).open(t, "i-1")
	for _, id := range []string{"again", "destroyed"} {
		sh(t, "zfs", "create", "-u", d.parent+"/"+id)
		if _, err := d.Stat(t.Context(), id); !errs.Is(err, errs.NotFound) {
			t.Errorf("Stat: %v", err)
		}
	}
	if inv, err := d.List(t.Context(), nil); err != nil || len(inv.Volumes) != 0 {
		t.Errorf("List: %+v, %v", inv, err)
	}
	if _, err := d.Create(t.Context(), "again"); err != nil {
		t.Error(err)
	}
	if _, err := d.Stat(t.Context(), "again"); err != nil {
		t.Error(err)
	}
	if err := d.Destroy(t.Context(), "destroyed"); err != nil || exists(t, d.parent+"/destroyed") {
		t.Errorf("not destroyed: %v", err)
	}
}

// What could be somebody's is nobody's leftover.
func TestWhatHoldsSomethingIsNotUnfinished(t *testing.T) {
	p := newPool(t, 128)
	d := p.open(t, "i-1")
	_, snap := golden(t, d)
	origin, err := d.snapshotName(snap)
	if err != nil {
		t.Fatal(err)
	}
	for what, make := range map[string]func(name string){
		"a file": func(name string) {
			sh(t, "zfs", "create", name)
			put(t, d, name)
		},
		"a file in a clone of ours": func(name string) {
			sh(t, "zfs", "clone", origin, name)
			put(t, d, name)
		},
		"a clone of another's": func(name string) {
			sh(t, "zfs", "snapshot", d.parent+"/g-1@theirs")
			sh(t, "zfs", "clone", d.parent+"/g-1@theirs", name)
		},
		"another's mark": func(name string) {
			sh(t, "zfs", "create", "-o", markProperty+"=i-2", name)
		},
		"a block device": func(name string) {
			sh(t, "zfs", "create", "-V", "1M", "-s", name)
		},
		"a snapshot": func(name string) {
			sh(t, "zfs", "create", name)
			sh(t, "zfs", "snapshot", name+"@theirs")
		},
	} {
		name := d.parent + "/theirs"
		make(name)
		sh(t, "zpool", "sync", p.name)
		if err := d.Destroy(t.Context(), "theirs"); what == "a snapshot" && !hasReason(err, storage.ReasonHasDependents) ||
			what != "a snapshot" && !hasReason(err, storage.ReasonForeign) {
			t.Errorf("Destroy of %s: %v", what, err)
		}
		if !exists(t, name) {
			t.Fatalf("%s is gone", what)
		}
		if what != "a snapshot" {
			for call, err := range map[string]error{"Create": second(d.Create(t.Context(), "theirs")), "Clone": second(d.Clone(t.Context(), snap, "theirs"))} {
				if !errs.Is(err, errs.Exists) || !hasReason(err, storage.ReasonForeign) {
					t.Errorf("%s in the place of %s: %v", call, what, err)
				}
			}
		}
		sh(t, "zfs", "destroy", "-r", name)
	}
}

func put(t *testing.T, d *Driver, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.mountpoint, filepath.Base(name), "file"), []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func second(_ storage.Volume, err error) error { return err }
