package zfs

import (
	"testing"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// calls makes every call whose answer could be taken for "it is gone", or for
// "it is destroyed".
func calls(t *testing.T, d *Driver, snap storage.SnapshotRef) map[string]error {
	t.Helper()
	ctx := t.Context()
	all := map[string]error{}
	_, all["Stat"] = d.Stat(ctx, "g-1")
	_, all["Usage"] = d.Usage(ctx, "g-1")
	_, all["Clone"] = d.Clone(ctx, snap, "c-1")
	_, all["Create"] = d.Create(ctx, "g-2")
	_, all["Snapshot"] = d.Snapshot(ctx, snap.Source, "s-2")
	_, all["Snapshot of a foreign dataset"] = d.Snapshot(ctx, storage.Source{Foreign: d.pool + "/replica"}, "s-2")
	_, all["ForeignPath"] = d.ForeignPath(ctx, d.pool+"/replica")
	_, all["List"] = d.List(ctx, nil)
	_, all["List with a foreign dataset"] = d.List(ctx, []string{d.pool + "/replica"})
	_, all["Space"] = d.Space(ctx)
	_, all["Changed"] = d.Changed(ctx, snap, "g-1")
	_, all["ChangedBetween"] = d.ChangedBetween(ctx, snap, snap)
	_, all["SnapshotUsage"] = d.SnapshotUsage(ctx, snap)
	all["Destroy"] = d.Destroy(ctx, "g-1")
	all["DestroySnapshot"] = d.DestroySnapshot(ctx, snap)
	all["DestroySnapshot of a foreign dataset's"] = d.DestroySnapshot(ctx, storage.SnapshotRef{Source: storage.Source{Foreign: d.pool + "/replica"}, ID: "s-1"})
	return all
}

func wantUnavailable(t *testing.T, d *Driver, snap storage.SnapshotRef, when string) {
	t.Helper()
	for what, err := range calls(t, d, snap) {
		if !errs.Is(err, errs.Unavailable) {
			t.Errorf("%s, %s: %v", when, what, err)
		}
	}
}

func wantWhole(t *testing.T, d *Driver, when string) {
	t.Helper()
	inv, err := d.List(t.Context(), nil)
	if err != nil || len(inv.Volumes) != 1 || len(inv.Snapshots) != 1 {
		t.Fatalf("%s: %+v, %v", when, inv, err)
	}
	if _, err := d.Stat(t.Context(), "g-1"); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if _, err := d.Stat(t.Context(), "absent"); !errs.Is(err, errs.NotFound) {
		t.Fatalf("%s: Stat of an absent volume: %v", when, err)
	}
}

func TestNothingIsGoneWhileThePoolIsExported(t *testing.T) {
	p := newPool(t, 64)
	d := p.open(t, "i-1")
	_, snap := golden(t, d)
	wantWhole(t, d, "at first")

	p.exported(t)
	wantUnavailable(t, d, snap, "exported")
	if health, err := d.Health(t.Context()); !errs.Is(err, errs.Unavailable) {
		t.Errorf("health is %q, %v", health, err)
	}

	p.imported(t)
	// What is seen first after an import may have been looked for before it.
	if _, err := d.List(t.Context(), nil); !errs.Is(err, errs.Unavailable) {
		t.Errorf("the first List after an import: %v", err)
	}
	wantWhole(t, d, "imported again")
}

// A command that found nothing while the pool was away, and is judged when the
// pool is back, proves nothing; and no other call makes it prove something.
func TestNothingIsGoneAcrossAnImport(t *testing.T) {
	p := newPool(t, 64)
	d := p.open(t, "i-1")
	golden(t, d)
	before := d.loaded.Load()
	p.exported(t)
	_, unseen := d.runner.Read(t.Context(), "get", getArgv(volumeProperties, d.parent+"/g-1")...)
	p.imported(t)
	for range 2 {
		if err := d.judge(t.Context(), before, unseen); !errs.Is(err, errs.Unavailable) {
			t.Errorf("got %v", err)
		}
	}
	wantWhole(t, d, "imported again")
}

func TestNothingIsGoneWhileTheParentIsAnother(t *testing.T) {
	p := newPool(t, 64)
	d := p.open(t, "i-1")
	_, snap := golden(t, d)
	away := p.name + "/away"

	sh(t, "zfs", "rename", d.parent, away)
	wantUnavailable(t, d, snap, "renamed")

	sh(t, "zfs", "create", d.parent)
	for what, err := range calls(t, d, snap) {
		// A new volume under the new parent is no lie.
		if what != "Create" && what != "Space" && !errs.Is(err, errs.Unavailable) {
			t.Errorf("replaced, %s: %v", what, err)
		}
	}
	sh(t, "zfs", "destroy", "-r", d.parent)
	sh(t, "zfs", "rename", away, d.parent)
	wantWhole(t, d, "renamed back")
}
