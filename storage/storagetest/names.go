package storagetest

import (
	"strings"
	"testing"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// testExample walks through the example of the contract.
func testExample(t *testing.T, cfg Config) {
	d := cfg.New(t)
	if d.Name() == "" {
		t.Fatal("the driver has no name")
	}
	wantList(t, d, nil)
	g := create(t, d, "g-1")
	wantNames(t, g.Path)
	write(t, g.Path, "rows", "1")
	snap := snapshot(t, d, storage.Own("g-1"), "ready")
	work := clone(t, d, snap.Ref, "c-1-1")
	wantFile(t, work.Path, "rows", "1")
	wantList(t, d, nil, "g-1", "c-1-1", "g-1@ready")
	destroy(t, d, "c-1-1")
	destroySnapshot(t, d, snap.Ref)
	destroy(t, d, "g-1")
	wantList(t, d, nil)
}

func testInvalidNames(t *testing.T, cfg Config) {
	d := cfg.New(t)
	create(t, d, "good")
	good := snapshot(t, d, storage.Own("good"), "good").Ref
	ctx := t.Context()
	before := cfg.Commands(d)
	bad := []string{
		"", ".", "..", "-x", "A", "a/b", "a@b", "a b", "a_b", "a\n", "a\x00b", "é", "a;b", "$(reboot)", "*", "a%b",
		strings.Repeat("a", 64),
	}
	for _, id := range bad {
		_, err := d.Create(ctx, id)
		wantKind(t, err, errs.Invalid, "Create "+id)
		_, err = d.Stat(ctx, id)
		wantKind(t, err, errs.Invalid, "Stat "+id)
		_, err = d.Usage(ctx, id)
		wantKind(t, err, errs.Invalid, "Usage "+id)
		wantKind(t, d.Destroy(ctx, id), errs.Invalid, "Destroy "+id)
		_, err = d.Snapshot(ctx, storage.Own(id), "s")
		wantKind(t, err, errs.Invalid, "Snapshot of "+id)
		_, err = d.Snapshot(ctx, good.Source, id)
		wantKind(t, err, errs.Invalid, "Snapshot "+id)
		_, err = d.Clone(ctx, good, id)
		wantKind(t, err, errs.Invalid, "Clone to "+id)
		for _, from := range []storage.SnapshotRef{ref(id, "good"), ref("good", id)} {
			_, err = d.Clone(ctx, from, "c")
			wantKind(t, err, errs.Invalid, "Clone from "+id)
			wantKind(t, d.DestroySnapshot(ctx, from), errs.Invalid, "DestroySnapshot "+id)
		}
	}
	both := storage.Source{Volume: "good", Foreign: "/good"}
	_, err := d.Snapshot(ctx, both, "s")
	wantKind(t, err, errs.Invalid, "Snapshot of a source with both fields")
	if n := cfg.Commands(d) - before; n != 0 {
		t.Errorf("%d commands ran with invalid names", n)
	}
	wantList(t, d, nil, "good", "good@good")

	// The longest names, and names that only differ where a separator could be.
	long := strings.Repeat("z", 63)
	create(t, d, long)
	snapshot(t, d, storage.Own(long), long)
	create(t, d, "a")
	snapshot(t, d, storage.Own("a"), "b-c")
	create(t, d, "a-b")
	snapshot(t, d, storage.Own("a-b"), "c")
	wantList(t, d, nil, "good", "good@good", long, long+"@"+long, "a", "a@b-c", "a-b", "a-b@c")
}

func testAbsent(t *testing.T, cfg Config) {
	d := cfg.New(t)
	create(t, d, "v")
	ctx := t.Context()
	_, err := d.Stat(ctx, "no")
	wantKind(t, err, errs.NotFound, "Stat of an absent volume")
	_, err = d.Usage(ctx, "no")
	wantKind(t, err, errs.NotFound, "Usage of an absent volume")
	_, err = d.Snapshot(ctx, storage.Own("no"), "s")
	wantKind(t, err, errs.NotFound, "Snapshot of an absent volume")
	_, err = d.Clone(ctx, ref("v", "no"), "c")
	wantKind(t, err, errs.NotFound, "Clone of an absent snapshot")
	_, err = d.Clone(ctx, ref("no", "no"), "c")
	wantKind(t, err, errs.NotFound, "Clone of a snapshot of an absent volume")
	destroy(t, d, "no")
	destroySnapshot(t, d, ref("v", "no"))
	destroySnapshot(t, d, ref("no", "no"))
	wantList(t, d, nil, "v")

	// What was destroyed is as absent as what never was.
	snap := snapshot(t, d, storage.Own("v"), "s").Ref
	clone(t, d, snap, "c")
	destroy(t, d, "c")
	destroy(t, d, "c")
	_, err = d.Stat(ctx, "c")
	wantKind(t, err, errs.NotFound, "Stat of a destroyed volume")
	destroySnapshot(t, d, snap)
	destroySnapshot(t, d, snap)
	_, err = d.Clone(ctx, snap, "c")
	wantKind(t, err, errs.NotFound, "Clone of a destroyed snapshot")
}

func testIdempotent(t *testing.T, cfg Config) {
	d := cfg.New(t)
	v := create(t, d, "v")
	write(t, v.Path, "f", "first")
	wantSame(t, v, create(t, d, "v"))
	wantFile(t, v.Path, "f", "first")

	snap := snapshot(t, d, storage.Own("v"), "s")
	write(t, v.Path, "f", "second")
	if again := snapshot(t, d, storage.Own("v"), "s"); !again.Created.Equal(snap.Created) {
		t.Errorf("the same Snapshot again was created %v, first %v", again.Created, snap.Created)
	}
	c := clone(t, d, snap.Ref, "c")
	wantFile(t, c.Path, "f", "first")
	write(t, c.Path, "f", "third")
	wantSame(t, c, clone(t, d, snap.Ref, "c"))
	wantFile(t, c.Path, "f", "third")
	wantSame(t, c, stat(t, d, "c"))
	wantSame(t, v, stat(t, d, "v"))
}

// wantSame compares all of two descriptions but the origin, which Stat need
// not fill.
func wantSame(t *testing.T, first, again storage.Volume) {
	t.Helper()
	if again.ID != first.ID || again.Path != first.Path || !again.Created.Equal(first.Created) {
		t.Errorf("the same volume again is %+v, first %+v", again, first)
	}
}

func testConflicts(t *testing.T, cfg Config) {
	d := cfg.New(t)
	create(t, d, "v")
	one := snapshot(t, d, storage.Own("v"), "one").Ref
	two := snapshot(t, d, storage.Own("v"), "two").Ref
	c := clone(t, d, one, "c")
	write(t, c.Path, "f", "kept")
	ctx := t.Context()
	_, err := d.Clone(ctx, two, "c")
	wantKind(t, err, errs.Exists, "Clone of another snapshot to the same ID")
	_, err = d.Create(ctx, "c")
	wantKind(t, err, errs.Exists, "Create with the ID of a clone")
	_, err = d.Clone(ctx, one, "v")
	wantKind(t, err, errs.Exists, "Clone to the ID of its own origin")
	wantFile(t, c.Path, "f", "kept")
	wantList(t, d, nil, "v", "c", "v@one", "v@two")
}
