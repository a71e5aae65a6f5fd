package storagetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/cloned-db/cloned/storage"
)

// testIsolation: nothing written to a volume is seen in its snapshots, its
// parent, its siblings or its descendants.
func testIsolation(t *testing.T, cfg Config) {
	d := cfg.New(t)
	g := create(t, d, "g")
	write(t, g.Path, "shared", "golden")
	write(t, g.Path, "gone", "soon")
	snap := snapshot(t, d, storage.Own("g"), "s").Ref

	write(t, g.Path, "shared", "golden changed")
	a, b := clone(t, d, snap, "a"), clone(t, d, snap, "b")
	wantFile(t, a.Path, "shared", "golden")
	write(t, a.Path, "shared", "a")
	write(t, a.Path, "only-a", "a")
	appendTo(t, filepath.Join(b.Path, "shared"), ", b")
	if err := os.Remove(filepath.Join(b.Path, "gone")); err != nil {
		t.Fatal(err)
	}
	child := clone(t, d, snapshot(t, d, storage.Own("a"), "s").Ref, "child")
	write(t, child.Path, "only-a", "child")

	wantFile(t, g.Path, "shared", "golden changed")
	wantNames(t, g.Path, "gone", "shared")
	wantFile(t, a.Path, "shared", "a")
	wantFile(t, a.Path, "only-a", "a")
	wantFile(t, b.Path, "shared", "golden, b")
	wantNames(t, b.Path, "shared")
	wantFile(t, child.Path, "shared", "a")
	fresh := clone(t, d, snap, "fresh")
	wantFile(t, fresh.Path, "shared", "golden")
	wantFile(t, fresh.Path, "gone", "soon")
	wantNames(t, fresh.Path, "gone", "shared")
}

func appendTo(t *testing.T, path, more string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(more); err != nil {
		t.Fatal(err)
	}
}

// testDeep makes a clone of a clone of a clone, twenty deep.
func testDeep(t *testing.T, cfg Config) {
	const depth = 20
	d := cfg.New(t)
	v := create(t, d, "v-0")
	write(t, v.Path, "file-0", "0")
	for i := 1; i <= depth; i++ {
		snap := snapshot(t, d, storage.Own("v-"+strconv.Itoa(i-1)), "s")
		v = clone(t, d, snap.Ref, "v-"+strconv.Itoa(i))
		write(t, v.Path, "file-"+strconv.Itoa(i), strconv.Itoa(i))
		write(t, v.Path, "file-0", strconv.Itoa(i))
	}
	for i := 0; i <= depth; i++ {
		v := stat(t, d, "v-"+strconv.Itoa(i))
		wantFile(t, v.Path, "file-0", strconv.Itoa(i))
		var names []string
		for j := 0; j <= i; j++ {
			names = append(names, "file-"+strconv.Itoa(j))
		}
		wantNames(t, v.Path, names...)
	}
	for i := depth; i > 0; i-- {
		destroy(t, d, "v-"+strconv.Itoa(i))
		destroySnapshot(t, d, ref("v-"+strconv.Itoa(i-1), "s"))
	}
	wantList(t, d, nil, "v-0")
}

// testAtomicSnapshot: a writer that forces each step to disk before the next is
// always seen between two steps.
func testAtomicSnapshot(t *testing.T, cfg Config) {
	d := cfg.New(t)
	if !d.Capabilities().Atomic {
		t.Skip("the driver does not claim atomic snapshots")
	}
	v := create(t, d, "v")
	atomicSnapshots(t, d, storage.Own("v"), v.Path, true)
}

// testOrderedSnapshot: the same of a writer that forces nothing to disk.
func testOrderedSnapshot(t *testing.T, cfg Config) {
	d := cfg.New(t)
	if !d.Capabilities().Ordered {
		t.Skip("the driver does not claim ordered snapshots")
	}
	v := create(t, d, "v")
	atomicSnapshots(t, d, storage.Own("v"), v.Path, false)
}

// atomicSnapshots takes snapshots of src while a program writes to it at path,
// and forces each step to disk or not.
func atomicSnapshots(t *testing.T, d storage.Driver, src storage.Source, path string, force bool) {
	t.Helper()
	stop := make(chan struct{})
	started, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- writeInSteps(path, force, started, stop) }()
	<-started
	for i := range 5 {
		id := "s-" + strconv.Itoa(i)
		c := clone(t, d, snapshot(t, d, src, id).Ref, "at-"+id)
		first, second := number(t, c.Path, "first"), number(t, c.Path, "second")
		if first != second && first != second+1 {
			t.Errorf("snapshot %d holds step %d of one file and %d of the other", i, first, second)
		}
		destroy(t, d, c.ID)
		destroySnapshot(t, d, storage.SnapshotRef{Source: src, ID: id})
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// writeInSteps counts up in one file, then in the other, until stopped.
func writeInSteps(dir string, force bool, started, stop chan struct{}) error {
	var files []*os.File
	for _, name := range []string{"first", "second"} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			close(started)
			return err
		}
		defer f.Close()
		files = append(files, f)
	}
	for step := 0; ; step++ {
		for _, f := range files {
			if _, err := f.WriteAt(fmt.Appendf(nil, "%20d", step), 0); err != nil {
				return err
			}
			if !force {
				continue
			}
			if err := f.Sync(); err != nil {
				return err
			}
		}
		if step == 0 {
			close(started)
		}
		select {
		case <-stop:
			return nil
		default:
		}
	}
}

func number(t *testing.T, dir, name string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscan(string(b), &n); err != nil {
		t.Fatalf("%s holds %q: %v", name, b, err)
	}
	return n
}
