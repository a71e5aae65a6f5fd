package storagetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// newDiffer returns a driver that knows what changed.
func newDiffer(t *testing.T, cfg Config) (storage.Driver, storage.Differ) {
	t.Helper()
	d := cfg.New(t)
	return d, differ(t, d)
}

func differ(t *testing.T, d storage.Driver) storage.Differ {
	t.Helper()
	differ, ok := d.(storage.Differ)
	if !ok {
		t.Skip("the driver does not tell what changed")
	}
	return differ
}

// testChangedFew: of many files exactly those are listed that were written, and
// none that were read.
func testChangedFew(t *testing.T, cfg Config) {
	const many, block = 1000, 8 << 10
	d, differ := newDiffer(t, cfg)
	v := create(t, d, "v")
	name := func(i int) string { return fmt.Sprintf("dir-%d/file-%d", i%7, i) }
	for i := range many {
		path := filepath.Join(v.Path, name(i))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, random(t, 2*block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	snap := snapshot(t, d, storage.Own("v"), "s").Ref
	c := clone(t, d, snap, "c")
	wantChanged(t, differ, snap, "c", nil)
	wantChanged(t, differ, snap, "v", nil)

	want := map[string]change{}
	for i := range many {
		path := filepath.Join(c.Path, name(i))
		if _, err := os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		if i%100 == 50 {
			writeAt(t, path, random(t, block), block)
			want[name(i)] = change{written: block, size: 2 * block}
		}
	}
	wantChanged(t, differ, snap, "c", want)
	wantChanged(t, differ, snap, "c", want)
	wantChanged(t, differ, snap, "v", nil)
	wantList(t, d, nil, "v", "c", "v@s")
	destroy(t, d, "c")
}

// testChangedSince compares along a chain: v@one, v@two, its clone c, c@s, its
// clone e.
func testChangedSince(t *testing.T, cfg Config) {
	d, differ := newDiffer(t, cfg)
	v := create(t, d, "v")
	write(t, v.Path, "kept", "kept")
	write(t, v.Path, "gone", "soon")
	one := snapshot(t, d, storage.Own("v"), "one").Ref
	write(t, v.Path, "v", "v")
	two := snapshot(t, d, storage.Own("v"), "two").Ref
	c := clone(t, d, two, "c")
	write(t, c.Path, "c", "c")
	write(t, c.Path, "passing", "c")
	ofC := snapshot(t, d, storage.Own("c"), "s").Ref
	write(t, c.Path, "c-later", "c")
	e := clone(t, d, ofC, "e")
	write(t, e.Path, "e", "eee")
	write(t, e.Path, "v", "ee")
	for _, name := range []string{"gone", "passing"} {
		if err := os.Remove(filepath.Join(e.Path, name)); err != nil {
			t.Fatal(err)
		}
	}
	ofE := snapshot(t, d, storage.Own("e"), "s").Ref
	all := []string{"v", "c", "e", "v@one", "v@two", "c@s", "e@s"}
	wantList(t, d, nil, all...)

	made := change{created: true, written: 1, size: 1}
	madeE, rewritten, removed := change{created: true, written: 3, size: 3}, change{written: 2, size: 2}, change{removed: true}
	// Of v, "v" is new since v@one, and changed since v@two.
	sinceOne := map[string]change{"v": {created: true, written: 2, size: 2}, "c": made, "e": madeE, "gone": removed}
	wantChanged(t, differ, one, "v", map[string]change{"v": made})
	wantChanged(t, differ, two, "v", nil)
	wantChanged(t, differ, one, "c", map[string]change{"v": made, "c": made, "passing": made, "c-later": made})
	wantChanged(t, differ, two, "c", map[string]change{"c": made, "passing": made, "c-later": made})
	wantChanged(t, differ, ofC, "c", map[string]change{"c-later": made})
	wantChanged(t, differ, one, "e", sinceOne)
	wantChanged(t, differ, two, "e", map[string]change{"v": rewritten, "c": made, "e": madeE, "gone": removed})
	wantChanged(t, differ, ofC, "e", map[string]change{"v": rewritten, "e": madeE, "gone": removed, "passing": removed})
	wantChanged(t, differ, ofE, "e", nil)
	wantChangedBetween(t, differ, one, one, nil)
	wantChangedBetween(t, differ, one, two, map[string]change{"v": made})
	wantChangedBetween(t, differ, one, ofC, map[string]change{"v": made, "c": made, "passing": made})
	wantChangedBetween(t, differ, one, ofE, sinceOne)
	wantList(t, d, nil, all...)

	wantChanged(t, cfg.Reopen(t, d).(storage.Differ), ofC, "c", map[string]change{"c-later": made})
	wantChangedRefused(t, d, differ)
	wantList(t, d, nil, append(all, "v@three")...)
}

// wantChangedRefused continues testChangedSince with what is no ancestor.
func wantChangedRefused(t *testing.T, d storage.Driver, differ storage.Differ) {
	t.Helper()
	ctx := t.Context()
	snapshot(t, d, storage.Own("v"), "three")
	for _, no := range []struct{ since, until storage.SnapshotRef }{
		{ref("v", "three"), ref("c", "s")}, // c was cloned before
		{ref("v", "three"), ref("e", "s")},
		{ref("c", "s"), ref("v", "three")},
		{ref("e", "s"), ref("c", "s")},
		{ref("v", "two"), ref("v", "one")}, // the wrong way round
	} {
		_, err := differ.ChangedBetween(ctx, no.since, no.until)
		wantReason(t, err, errs.Precondition, storage.ReasonNotAncestor, "ChangedBetween of strangers")
		if no.until.Source == no.since.Source {
			continue
		}
		_, err = differ.Changed(ctx, no.since, no.until.Source.Volume)
		wantReason(t, err, errs.Precondition, storage.ReasonNotAncestor, "Changed since a stranger")
	}
	_, err := differ.Changed(ctx, ref("v", "no"), "v")
	wantKind(t, err, errs.NotFound, "Changed since an absent snapshot")
	_, err = differ.Changed(ctx, ref("v", "one"), "no")
	wantKind(t, err, errs.NotFound, "Changed of an absent volume")
	_, err = differ.ChangedBetween(ctx, ref("v", "one"), ref("v", "no"))
	wantKind(t, err, errs.NotFound, "ChangedBetween until an absent snapshot")
	for _, id := range []string{"", "..", "a@b"} {
		_, err = differ.Changed(ctx, ref("v", id), "v")
		wantKind(t, err, errs.Invalid, "Changed since "+id)
		_, err = differ.Changed(ctx, ref("v", "one"), id)
		wantKind(t, err, errs.Invalid, "Changed of "+id)
		_, err = differ.ChangedBetween(ctx, ref("v", "one"), ref(id, "s"))
		wantKind(t, err, errs.Invalid, "ChangedBetween until "+id)
	}
}

// testChangedForeign compares with snapshots of a dataset that others write.
func testChangedForeign(t *testing.T, cfg Config) {
	d, f := newForeign(t, cfg)
	differ := differ(t, d)
	src := storage.Source{Foreign: f.Name}
	write(t, f.Path, "rows", "1")
	one := snapshot(t, d, src, "one").Ref
	write(t, f.Path, "rows", "22")
	two := snapshot(t, d, src, "two").Ref
	c := clone(t, d, two, "c")
	write(t, c.Path, "more", "333")
	rows, more := change{written: 2, size: 2}, change{created: true, written: 3, size: 3}
	wantChangedBetween(t, differ, one, two, map[string]change{"rows": rows})
	wantChanged(t, differ, two, "c", map[string]change{"more": more})
	wantChanged(t, differ, one, "c", map[string]change{"rows": rows, "more": more})
	wantList(t, d, []string{f.Name}, "c", f.Name+"@one", f.Name+"@two")
}

// testChangedMidway: a comparison that was broken off, or died, is in nobody's
// way.
func testChangedMidway(t *testing.T, cfg Config) {
	d, differ := newDiffer(t, cfg)
	v := create(t, d, "v")
	snap := snapshot(t, d, storage.Own("v"), "s").Ref
	write(t, v.Path, "f", "1")
	want := map[string]change{"f": {created: true, written: 1, size: 1}}
	begin := time.Now()
	wantChanged(t, differ, snap, "v", want)
	step := time.Since(begin) / 10
	for i := range 12 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*step)
		_, err := differ.Changed(ctx, snap, "v")
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Changed out of time: %v", err)
		}
		if cfg.Comparison != nil && cfg.Comparison.Left(t, d, "v") {
			t.Fatal("Changed out of time left something")
		}
	}
	wantChanged(t, differ, snap, "v", want)
	wantList(t, d, nil, "v", "v@s")
	if cfg.Comparison == nil {
		return
	}
	for _, id := range []string{"again", "destroyed", "reopened"} {
		c := clone(t, d, snap, id)
		write(t, c.Path, "f", "1")
		cfg.Comparison.Leave(t, d, id)
	}
	wantList(t, d, nil, "v", "v@s", "again", "destroyed", "reopened")
	gone := func(id string) {
		t.Helper()
		if cfg.Comparison.Left(t, d, id) {
			t.Errorf("what a died comparison of %s left is still there", id)
		}
	}
	wantChanged(t, differ, snap, "again", want)
	gone("again")
	destroy(t, d, "destroyed")
	gone("destroyed")
	d = cfg.Reopen(t, d)
	gone("reopened")
	wantList(t, d, nil, "v", "v@s", "again", "reopened")
}

// testSnapshotUsage: a snapshot alone holds what was overwritten since.
func testSnapshotUsage(t *testing.T, cfg Config) {
	d := cfg.New(t)
	v := create(t, d, "v")
	noise(t, filepath.Join(v.Path, "data"), 8*mib)
	snap := snapshot(t, d, storage.Own("v"), "s").Ref
	want := func(least, most int64) {
		t.Helper()
		eventually(t, func() error {
			u, err := d.SnapshotUsage(t.Context(), snap)
			if err == nil && (u.Unique < least || u.Unique > most || u.Logical < 8*mib || u.Logical > 9*mib) {
				err = errors.New("it takes " + strconv.FormatInt(u.Unique, 10) + " of " + strconv.FormatInt(u.Logical, 10))
			}
			return err
		})
	}
	if d.Capabilities().Thin {
		want(0, mib)
	}
	noise(t, filepath.Join(v.Path, "data"), 8*mib)
	want(8*mib, 9*mib)
	_, err := d.SnapshotUsage(t.Context(), ref("v", "no"))
	wantKind(t, err, errs.NotFound, "SnapshotUsage of an absent snapshot")
	_, err = d.SnapshotUsage(t.Context(), ref("v", "a@b"))
	wantKind(t, err, errs.Invalid, "SnapshotUsage of a malformed name")
}
