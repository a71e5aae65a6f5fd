package storagetest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// testQuota: a clone grows by as much as it may and no more, whatever it shares,
// and only who writes to it notices.
func testQuota(t *testing.T, cfg Config) {
	d := cfg.New(t)
	q, ok := d.(storage.Quota)
	if !ok {
		return // it promises nothing
	}
	v := create(t, d, "v")
	noise(t, filepath.Join(v.Path, "data"), 8*mib)
	snap := snapshot(t, d, storage.Own("v"), "s").Ref
	c, err := q.CloneWithin(t.Context(), snap, "c", 8*mib)
	if err != nil {
		t.Fatal(err)
	}
	again, err := q.CloneWithin(t.Context(), snap, "c", 8*mib)
	if err != nil || again.Path != c.Path {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	wrote := writeUntil(t, filepath.Join(c.Path, "more"), 32*mib)
	if wrote < 4*mib || wrote > 12*mib {
		t.Errorf("a clone that may grow by 8 MiB grew by %d bytes", wrote)
	}
	noise(t, filepath.Join(v.Path, "more"), 16*mib)
	noise(t, filepath.Join(clone(t, d, snap, "free").Path, "more"), 16*mib)
	if err := os.Remove(filepath.Join(c.Path, "more")); err != nil {
		t.Errorf("making room in a full clone: %v", err)
	}
	for _, bytes := range []int64{0, -1} {
		_, err := q.CloneWithin(t.Context(), snap, "none", bytes)
		wantKind(t, err, errs.Invalid, "CloneWithin no bound")
	}
	_, err = q.CloneWithin(t.Context(), ref("v", "no"), "none", mib)
	wantKind(t, err, errs.NotFound, "CloneWithin of an absent snapshot")
}

// writeUntil writes and forces to disk up to n bytes of noise, until the volume is
// full, and returns how many went in.
func writeUntil(t *testing.T, path string, n int) (wrote int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := random(t, mib); wrote < n; wrote += len(block) {
		_, err := f.Write(block)
		err = errors.Join(err, f.Sync())
		switch {
		case errors.Is(err, unix.EDQUOT), errors.Is(err, unix.ENOSPC):
			return wrote
		case err != nil:
			t.Fatal(err)
		}
	}
	return wrote
}
