package zfs

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cloned-db/cloned/errs"
)

func TestOpenRefusesBadConfig(t *testing.T) {
	for field, cfg := range map[string]Config{
		"parent":   {Parent: "tank/cl@ned", Instance: "i-1"},
		"instance": {Parent: "tank/cloned", Instance: "I 1"},
	} {
		_, err := Open(t.Context(), cfg)
		if !errs.Is(err, errs.Invalid) || errs.As(err).Field != field {
			t.Errorf("%+v: got %v", cfg, err)
		}
	}
}

func TestOpenMakesTheParent(t *testing.T) {
	p := newPool(t, 64)
	d := p.open(t, "i-1")
	for name, value := range Properties() {
		if name == "xattr" {
			// OpenZFS 2.3 calls "sa" by the name "on".
			if got := sh(t, "zfs", "get", "-H", "-o", "value", name, p.parent()); got != value && got != "on" {
				t.Errorf("xattr is %q", got)
			}
			continue
		}
		if got := sh(t, "zfs", "get", "-H", "-o", "value,source", name, p.parent()); got != value+"\tlocal" {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if d.mountpoint != filepath.Join(p.mountpoint(), "cloned") {
		t.Errorf("mounted at %s", d.mountpoint)
	}
	if health, err := d.Health(t.Context()); health != "ONLINE" || err != nil {
		t.Errorf("health is %q, %v", health, err)
	}
}

func TestOpenLeavesAParentAsItIs(t *testing.T) {
	p := newPool(t, 64)
	sh(t, "zfs", "create", "-o", "recordsize=64K", p.parent())
	before := localProperties(t, p.parent())
	p.open(t, "i-1")
	if after := localProperties(t, p.parent()); after != before {
		t.Errorf("properties were\n%s\nand are\n%s", before, after)
	}
}

func localProperties(t *testing.T, name string) string {
	return sh(t, "zfs", "get", "-H", "-s", "local", "-o", "property,value", "all", name)
}

func TestOpenMountsTheParentAndNotWhatIsNotToBeMounted(t *testing.T) {
	p := newPool(t, 64)
	sh(t, "zfs", "create", p.parent())
	sh(t, "zfs", "unmount", p.parent())
	p.open(t, "i-1")
	if got := sh(t, "zfs", "get", "-H", "-o", "value", "mounted", p.parent()); got != "yes" {
		t.Errorf("mounted: %s", got)
	}
	group := p.name + "/group"
	sh(t, "zfs", "create", "-o", "canmount=off", group)
	d := reopen(t, group, "i-1")
	v, err := d.Create(t.Context(), "g-1")
	if err != nil || v.Path != filepath.Join(p.mountpoint(), "group", "g-1") {
		t.Errorf("a volume under a parent that is not mounted: %+v, %v", v, err)
	}
}

func TestOpenGivesAMountPointToAParentOfItsOwn(t *testing.T) {
	p := newPool(t, 64)
	sh(t, "zfs", "set", "mountpoint=none", p.name)
	t.Cleanup(func() {
		// "/<pool>", which zfs made for the parent's mount point. Before the
		// pool is destroyed it holds a mount.
		sh(t, "zfs", "unmount", p.parent())
		for _, dir := range []string{"/" + p.parent(), "/" + p.name} {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		}
	})
	if d := p.open(t, "i-1"); d.mountpoint != "/"+p.parent() {
		t.Errorf("mounted at %s", d.mountpoint)
	}
}

func TestOpenRefuses(t *testing.T) {
	p := newPool(t, 64)
	sh(t, "zfs", "create", "-o", "mountpoint=legacy", p.name+"/legacy")
	sh(t, "zfs", "create", "-o", "mountpoint=none", p.name+"/none")
	sh(t, "zfs", "create", "-V", "1M", "-s", p.name+"/zvol")
	want := map[string]errs.Kind{
		p.name + "/legacy":         errs.Precondition,
		p.name + "/none":           errs.Precondition,
		p.name + "/zvol":           errs.Precondition,
		p.name + "/missing/cloned": errs.Unavailable,
		"no-such-pool/cloned":      errs.Unavailable,
	}
	for _, parent := range slices.Sorted(maps.Keys(want)) {
		_, err := Open(t.Context(), Config{Parent: parent, Instance: "i-1"})
		if !errs.Is(err, want[parent]) || errs.As(err).Hint == "" && errs.Is(err, errs.Unavailable) {
			t.Errorf("%s: got %v", parent, err)
		}
	}
	if exists(t, p.name+"/missing") {
		t.Error("a dataset above the parent was made")
	}
}
