package storagetest

import (
	"errors"
	"strconv"
	"testing"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

func testVolumeWithSnapshots(t *testing.T, cfg Config) {
	d := cfg.New(t)
	v := create(t, d, "v")
	write(t, v.Path, "f", "kept")
	one := snapshot(t, d, storage.Own("v"), "one").Ref
	two := snapshot(t, d, storage.Own("v"), "two").Ref
	c := clone(t, d, one, "c")
	destroySnapshot(t, d, two)

	wantReason(t, d.Destroy(t.Context(), "v"), errs.Precondition, storage.ReasonHasDependents, "Destroy of a volume with snapshots")
	wantFile(t, stat(t, d, "v").Path, "f", "kept")
	wantFile(t, c.Path, "f", "kept")
	wantList(t, d, nil, "v", "c", "v@one")

	destroy(t, d, "c")
	destroySnapshot(t, d, one)
	destroy(t, d, "v")
	wantList(t, d, nil)
}

func testSnapshotWithClones(t *testing.T, cfg Config) {
	d := cfg.New(t)
	v := create(t, d, "v")
	write(t, v.Path, "f", "1")
	snap := snapshot(t, d, storage.Own("v"), "s").Ref
	c := clone(t, d, snap, "c")
	err := d.DestroySnapshot(t.Context(), snap)
	if !cfg.Dependents {
		if err != nil {
			t.Fatalf("DestroySnapshot with a clone: %v", err)
		}
		wantList(t, d, nil, "v", "c")
		destroy(t, d, "v")
		wantFile(t, stat(t, d, "c").Path, "f", "1")
		wantList(t, d, nil, "c")
		return
	}
	wantReason(t, err, errs.Precondition, storage.ReasonHasDependents, "DestroySnapshot with a clone")
	wantFile(t, c.Path, "f", "1")
	wantList(t, d, nil, "v", "c", "v@s")
	destroy(t, d, "c")
	destroySnapshot(t, d, snap)
	wantList(t, d, nil, "v")
}

// testList: another driver value finds everything again, as it was.
func testList(t *testing.T, cfg Config) {
	d := cfg.New(t)
	v := create(t, d, "v")
	write(t, v.Path, "f", "1")
	made := map[string]storage.Volume{"v": v}
	snap := snapshot(t, d, storage.Own("v"), "s")
	for i := range 3 {
		id := "c-" + strconv.Itoa(i)
		made[id] = clone(t, d, snap.Ref, id)
	}
	deep := snapshot(t, d, storage.Own("c-1"), "s")
	made["deep"] = clone(t, d, deep.Ref, "deep")

	again := cfg.Reopen(t, d)
	for _, d := range []storage.Driver{d, again} {
		wantList(t, d, nil, "v", "c-0", "c-1", "c-2", "deep", "v@s", "c-1@s")
		inv := list(t, d)
		for _, got := range inv.Volumes {
			wantSame(t, made[got.ID], got)
			wantOrigin(t, d, made[got.ID], got)
			wantSame(t, made[got.ID], stat(t, d, got.ID))
		}
		for _, got := range inv.Snapshots {
			want := snap
			if got.Ref == deep.Ref {
				want = deep
			}
			if got.Ref != want.Ref || !got.Created.Equal(want.Created) {
				t.Errorf("List returned snapshot %+v, want %+v", got, want)
			}
		}
	}
	wantFile(t, clone(t, again, snap.Ref, "c-3").Path, "f", "1")
	wantSame(t, made["c-0"], clone(t, again, snap.Ref, "c-0"))
	_, err := again.Clone(t.Context(), deep.Ref, "c-0")
	wantKind(t, err, errs.Exists, "Clone of another snapshot to an ID made before reopening")
}

func wantOrigin(t *testing.T, d storage.Driver, want, got storage.Volume) {
	t.Helper()
	if !d.Capabilities().Origins {
		return
	}
	if (want.Origin == nil) != (got.Origin == nil) || want.Origin != nil && *want.Origin != *got.Origin {
		t.Errorf("List says that %s comes from %+v, want %+v", got.ID, got.Origin, want.Origin)
	}
}

// testStrangers: what does not bear our mark is neither shown nor touched.
func testStrangers(t *testing.T, cfg Config) {
	d := cfg.New(t)
	create(t, d, "v")
	snap := snapshot(t, d, storage.Own("v"), "s").Ref
	present := cfg.Stranger(t, d, "stranger")
	if !present() {
		t.Fatal("the stranger is not there to begin with")
	}
	ctx := t.Context()
	wantList(t, d, nil, "v", "v@s")
	_, err := d.Stat(ctx, "stranger")
	wantNotOurs(t, err, "Stat")
	_, err = d.Usage(ctx, "stranger")
	wantNotOurs(t, err, "Usage")
	_, err = d.Snapshot(ctx, storage.Own("stranger"), "s")
	wantNotOurs(t, err, "Snapshot")
	_, err = d.Create(ctx, "stranger")
	wantReason(t, err, errs.Exists, storage.ReasonForeign, "Create in the place of a stranger")
	_, err = d.Clone(ctx, snap, "stranger")
	wantReason(t, err, errs.Exists, storage.ReasonForeign, "Clone to the place of a stranger")
	if err := d.Destroy(ctx, "stranger"); err != nil {
		wantReason(t, err, errs.Precondition, storage.ReasonForeign, "Destroy of a stranger")
	}
	if !present() {
		t.Fatal("the stranger is gone")
	}
	wantList(t, cfg.Reopen(t, d), nil, "v", "v@s")
	if !present() {
		t.Fatal("the stranger is gone after reopening")
	}
}

// wantNotOurs accepts both true answers on a stranger: that we have no such
// volume, and that it is not ours.
func wantNotOurs(t *testing.T, err error, what string) {
	t.Helper()
	if err == nil {
		t.Fatalf("%s of a stranger succeeded", what)
	}
	if e := errs.As(err); e.Kind != errs.NotFound && e.Reason != storage.ReasonForeign {
		t.Fatalf("%s of a stranger: kind %v, reason %s: %v", what, e.Kind, e.Reason, err)
	}
}

func testOtherInstance(t *testing.T, cfg Config) {
	d := cfg.New(t)
	v := create(t, d, "v")
	write(t, v.Path, "f", "1")
	snap := snapshot(t, d, storage.Own("v"), "s").Ref
	clone(t, d, snap, "c")

	other := cfg.Other(t, d)
	ctx := t.Context()
	wantList(t, other, nil)
	_, err := other.Stat(ctx, "c")
	wantNotOurs(t, err, "Stat")
	_, err = other.Clone(ctx, snap, "mine")
	wantNotOurs(t, err, "Clone of a snapshot")
	for _, err := range []error{other.Destroy(ctx, "c"), other.DestroySnapshot(ctx, snap), other.Destroy(ctx, "v")} {
		if err != nil {
			wantReason(t, err, errs.Precondition, storage.ReasonForeign, "another instance's destroy")
		}
	}
	// Whether two instances may use the same ID is up to the driver.
	if _, err = other.Create(ctx, "v"); err != nil {
		wantReason(t, err, errs.Exists, storage.ReasonForeign, "another instance's Create")
	} else if err := errors.Join(other.Destroy(ctx, "v"), other.Destroy(ctx, "v")); err != nil {
		t.Fatal(err)
	}
	wantList(t, d, nil, "v", "c", "v@s")
	wantFile(t, v.Path, "f", "1")
	wantFile(t, stat(t, d, "c").Path, "f", "1")
}
