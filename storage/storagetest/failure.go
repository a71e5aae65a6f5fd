package storagetest

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// testConcurrent lives many volumes' lives at once.
func testConcurrent(t *testing.T, cfg Config) {
	const many = 24
	d := cfg.New(t)
	v := create(t, d, "v")
	write(t, v.Path, "f", "golden")
	snap := snapshot(t, d, storage.Own("v"), "s").Ref
	failed := make([]error, many)
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() { failed[i] = life(t.Context(), d, snap, strconv.Itoa(i)) })
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	want := []string{"v", "v@s"}
	for i := range many {
		n := strconv.Itoa(i)
		want = append(want, "c-"+n)
		wantFile(t, stat(t, d, "c-"+n).Path, "f", n)
	}
	wantList(t, d, nil, want...)
}

// life clones, writes, snapshots, clones that, and destroys all but the first.
func life(ctx context.Context, d storage.Driver, from storage.SnapshotRef, n string) error {
	c, err := d.Clone(ctx, from, "c-"+n)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.Path, "f"), []byte(n), 0o600); err != nil {
		return err
	}
	snap, err := d.Snapshot(ctx, storage.Own(c.ID), "s")
	if err != nil {
		return err
	}
	child, err := d.Clone(ctx, snap.Ref, "child-"+n)
	if err != nil {
		return err
	}
	got, err := os.ReadFile(filepath.Join(child.Path, "f"))
	if err != nil {
		return err
	}
	if string(got) != n {
		return errors.New("child " + n + " holds " + string(got))
	}
	if _, err := d.List(ctx, nil); err != nil {
		return err
	}
	return errors.Join(d.Destroy(ctx, child.ID), d.DestroySnapshot(ctx, snap.Ref))
}

// testCanceled: with a context that has ended nothing is done.
func testCanceled(t *testing.T, cfg Config) {
	d := cfg.New(t)
	create(t, d, "v")
	snap := snapshot(t, d, storage.Own("v"), "s").Ref
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, errCreate := d.Create(ctx, "w")
	_, errClone := d.Clone(ctx, snap, "c")
	_, errSnapshot := d.Snapshot(ctx, snap.Source, "s2")
	_, errList := d.List(ctx, nil)
	_, errStat := d.Stat(ctx, "v")
	for what, err := range map[string]error{
		"Create": errCreate, "Clone": errClone, "Snapshot": errSnapshot, "List": errList, "Stat": errStat,
		"Destroy": d.Destroy(ctx, "v"), "DestroySnapshot": d.DestroySnapshot(ctx, snap),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a canceled context: %v", what, err)
		}
		if errs.Is(err, errs.NotFound) {
			t.Errorf("%s with a canceled context claims to know what is absent: %v", what, err)
		}
	}
	wantList(t, d, nil, "v", "v@s")
}

// testCanceledMidway: whenever a call is broken off, there is afterwards the
// whole thing or none of it, and the same call again makes it whole.
func testCanceledMidway(t *testing.T, cfg Config) {
	d := cfg.New(t)
	v := create(t, d, "v")
	for i := range 20 {
		noise(t, filepath.Join(v.Path, "f-"+strconv.Itoa(i)), 128<<10)
	}
	write(t, v.Path, "z", "last")
	begin := time.Now()
	snap := snapshot(t, d, storage.Own("v"), "s").Ref
	clone(t, d, snap, "c")
	step := time.Since(begin) / 10

	for i := range 12 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*step/2)
		id := "c-" + strconv.Itoa(i)
		_, err := d.Clone(ctx, snap, id)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Clone out of time: %v", err)
		}
		if contains(list(t, d), id) {
			wantFile(t, stat(t, d, id).Path, "z", "last")
		} else if err == nil {
			t.Fatalf("Clone succeeded and List does not show %s", id)
		}
		c := clone(t, d, snap, id)
		wantFile(t, c.Path, "z", "last")
		wantCount(t, c.Path, 21)
		destroy(t, d, id)
	}
	wantList(t, d, nil, "v", "c", "v@s")
}

func contains(inv storage.Inventory, id string) bool {
	for _, v := range inv.Volumes {
		if v.ID == id {
			return true
		}
	}
	return false
}

func wantCount(t *testing.T, dir string, want int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != want {
		t.Fatalf("%s holds %d files, want %d", dir, len(entries), want)
	}
}

// testLeftovers: what a call that died left is not shown, in nobody's way, and
// destroyed with the volume.
func testLeftovers(t *testing.T, cfg Config) {
	if cfg.Leftover == nil {
		t.Skip("the driver makes a volume by a single command")
	}
	d := cfg.New(t)
	v := create(t, d, "v")
	write(t, v.Path, "f", "1")
	snap := snapshot(t, d, storage.Own("v"), "s").Ref
	for _, id := range []string{"again", "destroyed", "reopened"} {
		cfg.Leftover(t, d, id)
		_, err := d.Stat(t.Context(), id)
		wantKind(t, err, errs.NotFound, "Stat of what a died call left")
	}
	wantList(t, d, nil, "v", "v@s")
	c := clone(t, d, snap, "again")
	wantFile(t, c.Path, "f", "1")
	wantNames(t, c.Path, "f")
	destroy(t, d, "destroyed")
	d = cfg.Reopen(t, d)
	wantList(t, d, nil, "v", "again", "v@s")
	wantNames(t, clone(t, d, snap, "reopened").Path, "f")
}

// testPoolFull: when no space is left, the call says so and leaves nothing, and
// destroying still works and makes room.
func testPoolFull(t *testing.T, cfg Config) {
	d := cfg.Full(t)
	v := create(t, d, "v")
	write(t, v.Path, "f", "1")
	noise(t, filepath.Join(v.Path, "g"), 1<<20)
	snap := snapshot(t, d, storage.Own("v"), "s").Ref
	ballast := create(t, d, "ballast")
	fill(t, filepath.Join(ballast.Path, "ballast"))

	// A thin clone takes next to nothing, so that some may still succeed.
	const tooMany = 3000
	want := []string{"v", "ballast", "v@s"}
	var full error
	for i := 0; full == nil; i++ {
		if i == tooMany {
			t.Fatalf("%d clones fitted into a full pool", i)
		}
		id := "c-" + strconv.Itoa(i)
		if _, full = d.Clone(t.Context(), snap, id); full == nil {
			want = append(want, id)
		}
	}
	t.Logf("after %d clones: %v", len(want)-3, full)
	wantReason(t, full, errs.Exhausted, storage.ReasonPoolFull, "Clone in a full pool")
	wantList(t, d, nil, want...)

	for _, id := range append(want[3:], "ballast") {
		destroy(t, d, id)
	}
	// Some filesystems give space back in the background.
	eventually(t, func() error {
		_, err := d.Clone(t.Context(), snap, "c-fits")
		return err
	})
	wantFile(t, stat(t, d, "c-fits").Path, "f", "1")
	wantList(t, d, nil, "v", "c-fits", "v@s")
}

// fill writes until the pool has no room.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 4<<10; {
		b := make([]byte, size)
		if _, err := rand.Read(b); err != nil {
			t.Fatal(err)
		}
		_, err := f.Write(b)
		if err == nil {
			err = f.Sync()
		}
		switch {
		case err == nil:
		case errors.Is(err, syscall.ENOSPC):
			size /= 4
		default:
			t.Fatal(err)
		}
	}
}
