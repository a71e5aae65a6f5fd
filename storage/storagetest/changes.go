package storagetest

import (
	"crypto/rand"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/cloned-db/cloned/storage"
)

// change is what a FileChange must be. That a file is written in whole blocks
// makes it cost more than was written: twice as much, and slack.
type change struct {
	created, removed bool
	written, size    int64
}

const slack = 128 << 10

func wantChanged(t *testing.T, d storage.Differ, since storage.SnapshotRef, volume string, want map[string]change) {
	t.Helper()
	got, err := d.Changed(t.Context(), since, volume)
	if err != nil {
		t.Fatalf("Changed(%+v, %q): %v", since, volume, err)
	}
	compareChanges(t, got, want)
}

func wantChangedBetween(t *testing.T, d storage.Differ, since, until storage.SnapshotRef, want map[string]change) {
	t.Helper()
	got, err := d.ChangedBetween(t.Context(), since, until)
	if err != nil {
		t.Fatalf("ChangedBetween(%+v, %+v): %v", since, until, err)
	}
	compareChanges(t, got, want)
}

func compareChanges(t *testing.T, got []storage.FileChange, want map[string]change) {
	t.Helper()
	var paths []string
	for _, c := range got {
		paths = append(paths, c.Path)
		w, known := want[c.Path]
		if !known {
			t.Errorf("not changed was %+v", c)
			continue
		}
		if c.Created != w.created || c.Removed != w.removed || c.Size != w.size || c.Bytes < w.written || c.Bytes > 2*w.written+slack {
			t.Errorf("got %+v, want %+v", c, w)
		}
		if c.Removed && c.Bytes != 0 {
			t.Errorf("something was written to a removed file: %+v", c)
		}
	}
	if !slices.IsSorted(paths) {
		t.Errorf("not in order: %q", paths)
	}
	if len(slices.Compact(paths)) != len(got) {
		t.Errorf("a path is listed twice: %q", paths)
	}
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if !slices.Contains(paths, path) {
			t.Errorf("missing is %q, which was to be %+v", path, want[path])
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// writeAt writes within a file, which is made if need be, and forces nothing to
// disk.
func writeAt(t *testing.T, path string, b []byte, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}
