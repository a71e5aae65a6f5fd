package btrfs

import (
	"strconv"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/internal/need"
	"github.com/cloned-db/cloned/storage"
)

// TestKernelInterface compares what our ioctls read with what the btrfs command
// says, for a layout of a struct that is off shows only there.
func TestKernelInterface(t *testing.T) {
	need.Btrfs(t)
	d := open(t, pool(t, 256<<20).Mount, instance)
	if _, err := d.Create(t.Context(), "v"); err != nil {
		t.Fatal(err)
	}
	snap, err := d.Snapshot(t.Context(), storage.Own("v"), "s")
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Clone(t.Context(), snap.Ref, "c")
	if err != nil {
		t.Fatal(err)
	}
	place := d.base.Join("s", "v", "s")
	snapshotSays := btrfs(t, "subvolume", "show", place)
	cloneSays := btrfs(t, "subvolume", "show", c.Path)
	if field(snapshotSays, "UUID:") != field(cloneSays, "Parent UUID:") || field(snapshotSays, "Flags:") != "readonly" || field(cloneSays, "Flags:") != "-" {
		t.Fatalf("snapshot:\n%s\nclone:\n%s", snapshotSays, cloneSays)
	}
	f, info, err := openSnapshot(place)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, want := strconv.FormatUint(info.otransid, 10), field(snapshotSays, "Gen at creation:"); got != want {
		t.Errorf("made in transaction %s, want %s", got, want)
	}
	want := root{uuid: info.uuid, parent: info.parentUUID, otransid: info.otransid}
	if found, ok, err := rootOf(t.Context(), f, info.uuid); err != nil || !ok || found != want {
		t.Errorf("the root item says %+v, %v, %v, want %+v", found, ok, err, want)
	}
	if found, ok, err := rootOf(t.Context(), f, uuid{1}); err != nil || ok {
		t.Errorf("of a UUID that nobody has: %+v, %v", found, err)
	}
	if got, want := field(cloneSays, "Creation time:"), c.Created.Local().Format("2006-01-02 15:04:05 -0700"); got != want {
		t.Errorf("created %s, want %s", got, want)
	}
}

// field returns the rest of the line that begins with name.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), name); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
