package storagetest

import (
	"slices"
	"testing"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// newForeign returns a driver and a foreign dataset in its pool.
func newForeign(t *testing.T, cfg Config) (storage.Driver, Foreign) {
	t.Helper()
	d := cfg.New(t)
	if !d.Capabilities().Foreign {
		t.Skip("the driver does not take foreign datasets")
	}
	if cfg.Foreign == nil {
		t.Fatal("the driver takes foreign datasets, but Config.Foreign is nil")
	}
	return d, cfg.Foreign(t, d)
}

// testForeign: a dataset that somebody else writes is snapshotted in place.
func testForeign(t *testing.T, cfg Config) {
	d, f := newForeign(t, cfg)
	src := storage.Source{Foreign: f.Name}
	path, err := d.ForeignPath(t.Context(), f.Name)
	if err != nil || path != f.Path {
		t.Fatalf("ForeignPath(%q) is %q, %v, want %q", f.Name, path, err, f.Path)
	}
	write(t, f.Path, "rows", "1")
	snap := snapshot(t, d, src, "s")
	write(t, f.Path, "rows", "2")
	if again := snapshot(t, d, src, "s"); !again.Created.Equal(snap.Created) {
		t.Errorf("the same Snapshot again was created %v, first %v", again.Created, snap.Created)
	}
	c := clone(t, d, snap.Ref, "c")
	wantFile(t, c.Path, "rows", "1")
	write(t, c.Path, "rows", "clone")
	wantFile(t, f.Path, "rows", "2")
	next := snapshot(t, d, src, "next").Ref
	wantFile(t, clone(t, d, next, "c-next").Path, "rows", "2")

	foreign := []string{f.Name}
	for _, d := range []storage.Driver{d, cfg.Reopen(t, d)} {
		wantList(t, d, foreign, "c", "c-next", f.Name+"@s", f.Name+"@next")
		for _, v := range list(t, d, foreign...).Volumes {
			if v.ID == "c" {
				wantOrigin(t, d, c, v)
			}
		}
	}
	_, err = d.Clone(t.Context(), next, "c")
	wantKind(t, err, errs.Exists, "Clone of another foreign snapshot to the same ID")
	if cfg.Dependents {
		err := d.DestroySnapshot(t.Context(), snap.Ref)
		wantReason(t, err, errs.Precondition, storage.ReasonHasDependents, "DestroySnapshot of a foreign dataset's with a clone")
	}
	atomicSnapshots(t, d, src, f.Path, true)

	destroy(t, d, "c")
	destroy(t, d, "c-next")
	destroySnapshot(t, d, snap.Ref)
	destroySnapshot(t, d, next)
	destroySnapshot(t, d, next)
	wantList(t, d, foreign)
	wantFile(t, f.Path, "rows", "2")
	wantNames(t, f.Path, "first", "rows", "second")
}

// testForeignOwnersSnapshots: the owner's own snapshots are neither shown nor
// touched, not even if we are asked to by name.
func testForeignOwnersSnapshots(t *testing.T, cfg Config) {
	d, f := newForeign(t, cfg)
	src := storage.Source{Foreign: f.Name}
	foreign := []string{f.Name}
	write(t, f.Path, "rows", "1")
	f.Snapshot(t, "nightly")
	owners := f.Snapshots(t)
	if !slices.Contains(owners, "nightly") {
		t.Fatalf("the owner's snapshots are %q", owners)
	}
	wantList(t, d, foreign)
	nightly := storage.SnapshotRef{Source: src, ID: "nightly"}
	if err := d.DestroySnapshot(t.Context(), nightly); err != nil {
		wantReason(t, err, errs.Precondition, storage.ReasonForeign, "DestroySnapshot of the owner's")
	}
	_, err := d.Clone(t.Context(), nightly, "c")
	wantNotOurs(t, err, "Clone of the owner's snapshot")

	// Ours of that name may live beside it, or be refused.
	if _, err := d.Snapshot(t.Context(), src, "nightly"); err != nil {
		wantReason(t, err, errs.Exists, storage.ReasonForeign, "Snapshot with the name of the owner's")
	} else {
		wantList(t, d, foreign, f.Name+"@nightly")
		destroySnapshot(t, d, nightly)
	}
	wantList(t, d, foreign)
	if again := f.Snapshots(t); !slices.Equal(again, owners) {
		t.Fatalf("the owner's snapshots were %q and are %q", owners, again)
	}

	snapshot(t, d, src, "s")
	other := cfg.Other(t, d)
	wantList(t, other, foreign)
	if err := other.DestroySnapshot(t.Context(), storage.SnapshotRef{Source: src, ID: "s"}); err != nil {
		wantReason(t, err, errs.Precondition, storage.ReasonForeign, "another instance's DestroySnapshot")
	}
	wantList(t, d, foreign, f.Name+"@s")
}

func testForeignRefused(t *testing.T, cfg Config) {
	d := cfg.New(t)
	names := []string{
		"", "/", "..", "../x", "no/such", "/no/such/dataset", "/no/../no", "a@b", "a b", "-r", "/dev/null", "$(reboot)", "a\x00b",
	}
	if cfg.NotForeign != nil {
		names = append(names, cfg.NotForeign(t, d)...)
	}
	if !d.Capabilities().Foreign {
		names = append(names, t.TempDir())
	}
	for _, name := range names {
		path, err := d.ForeignPath(t.Context(), name)
		if err == nil {
			t.Errorf("ForeignPath(%q) is %q, want an error", name, path)
			continue
		}
		wantKind(t, err, errs.Invalid, "ForeignPath "+name)
		if field := errs.As(err).Field; field != "source" {
			t.Errorf("ForeignPath(%q) blames field %q", name, field)
		}
		if name == "" {
			continue
		}
		_, err = d.Snapshot(t.Context(), storage.Source{Foreign: name}, "s")
		if !errs.Is(err, errs.Invalid) && !errs.Is(err, errs.NotFound) {
			t.Errorf("Snapshot of foreign %q: %v", name, err)
		}
	}
	wantList(t, d, nil)
}
