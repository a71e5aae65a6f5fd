package zfs

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloned-db/cloned/storage"
	"github.com/cloned-db/cloned/storage/storagetest"
)

func TestConformance(t *testing.T) {
	var counters sync.Map // *Driver to *atomic.Int64
	open := func(t *testing.T, parent, instance string) storage.Driver {
		t.Helper()
		n := new(atomic.Int64)
		d, err := Open(t.Context(), Config{Parent: parent, Instance: instance, Run: counted(n)})
		if err != nil {
			t.Fatal(err)
		}
		counters.Store(d, n)
		return d
	}
	storagetest.Run(t, storagetest.Config{
		New:    func(t *testing.T) storage.Driver { return open(t, newPool(t, 1024).parent(), "i-1") },
		Full:   func(t *testing.T) storage.Driver { return open(t, newPool(t, 96).parent(), "i-1") },
		Reopen: func(t *testing.T, d storage.Driver) storage.Driver { return open(t, d.(*Driver).parent, "i-1") },
		// One instance's ID being the beginning of the other's is the worst case.
		Other: func(t *testing.T, d storage.Driver) storage.Driver { return open(t, d.(*Driver).parent, "i-1-2") },
		Stranger: func(t *testing.T, d storage.Driver, id string) func() bool {
			return strangers(t, d.(*Driver), id)
		},
		Foreign: func(t *testing.T, d storage.Driver) storagetest.Foreign {
			return replica(t, d.(*Driver))
		},
		NotForeign: func(t *testing.T, d storage.Driver) []string {
			return notForeign(t, d.(*Driver))
		},
		// ZFS died between creating and marking.
		Leftover: func(t *testing.T, d storage.Driver, id string) {
			driver := d.(*Driver)
			sh(t, "zfs", "clone", driver.parent+"/v"+driver.snapshotPrefix()+"s", driver.parent+"/"+id)
		},
		Comparison: &storagetest.Comparison{
			Leave: func(t *testing.T, d storage.Driver, volume string) {
				driver := d.(*Driver)
				if _, err := driver.bear(t.Context(), "snapshot", driver.temporaryName(volume)); err != nil {
					t.Fatal(err)
				}
			},
			Left: func(t *testing.T, d storage.Driver, volume string) bool {
				return exists(t, d.(*Driver).temporaryName(volume))
			},
		},
		Dependents: true,
		Commands: func(d storage.Driver) int64 {
			n, _ := counters.Load(d)
			return n.(*atomic.Int64).Load()
		},
		// Snapshot looks at the mark of the volume first. Clone's own limit is
		// held by TestCloneIsOneCommand.
		HotCommands: 2,
	})
}

// strangers makes datasets that bear the mark of d in every way but the right
// one: inherited from the parent, received in a stream, on a snapshot that
// inherits it from a volume of ours.
func strangers(t *testing.T, d *Driver, id string) func() bool {
	t.Helper()
	sh(t, append(append([]string{"zfs", "set"}, d.birth(time.Now())...), d.parent)...)
	t.Cleanup(func() {
		sh(t, "zfs", "inherit", markProperty, d.parent)
		sh(t, "zfs", "inherit", createdProperty, d.parent)
	})
	names := []string{
		d.parent + "/" + id,
		d.parent + "/" + id + d.snapshotPrefix() + "s",
		d.parent + "/" + id + "/child",
		d.parent + d.snapshotPrefix() + "s",
		d.parent + "/received",
		d.parent + "/received" + d.snapshotPrefix() + "s",
	}
	for _, name := range names[:4] {
		if strings.Contains(name, "@") {
			sh(t, "zfs", "snapshot", name)
		} else {
			sh(t, "zfs", "create", name)
		}
	}
	if _, err := d.Create(t.Context(), "sent"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Snapshot(t.Context(), storage.Own("sent"), "s"); err != nil {
		t.Fatal(err)
	}
	sent := d.parent + "/sent" + d.snapshotPrefix() + "s"
	sh(t, "sh", "-c", `zfs send -p "$1" | zfs receive "$2"`, "send", sent, d.parent+"/received")
	sh(t, "zfs", "destroy", sent)
	sh(t, "zfs", "destroy", d.parent+"/sent")
	return func() bool {
		for _, name := range names {
			if !exists(t, name) {
				t.Logf("%s is gone", name)
				return false
			}
		}
		return true
	}
}

func replica(t *testing.T, d *Driver) storagetest.Foreign {
	t.Helper()
	name := d.pool + "/replica"
	sh(t, "zfs", "create", name)
	return storagetest.Foreign{
		Name: name,
		Path: sh(t, "zfs", "get", "-H", "-o", "value", "mountpoint", name),
		Snapshot: func(t *testing.T, id string) {
			t.Helper()
			sh(t, "zfs", "snapshot", name+"@"+id)
		},
		Snapshots: func(t *testing.T) []string {
			t.Helper()
			var ids []string
			for _, line := range strings.Fields(sh(t, "zfs", "list", "-H", "-o", "name", "-t", "snapshot", name)) {
				ids = append(ids, strings.TrimPrefix(line, name+"@"))
			}
			return ids
		},
	}
}

func notForeign(t *testing.T, d *Driver) []string {
	t.Helper()
	sh(t, "zfs", "create", "-o", "canmount=off", d.pool+"/unmounted")
	sh(t, "zfs", "create", "-V", "1M", "-s", d.pool+"/zvol")
	return []string{
		d.pool + "/unmounted", d.pool + "/zvol", d.pool + "/no-such", newPool(t, 64).name,
		d.parent, d.parent + "/volume", d.pool + "/../" + d.pool, d.pool + "/replica@nightly", d.pool + "/",
	}
}
