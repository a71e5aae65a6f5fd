package zfs

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// golden makes a volume with a file and a snapshot of it.
func golden(t testing.TB, d *Driver) (storage.Volume, storage.SnapshotRef) {
	t.Helper()
	v, err := d.Create(t.Context(), "g-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(v.Path, "rows"), []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := d.Snapshot(t.Context(), storage.Own("g-1"), "s-1")
	if err != nil {
		t.Fatal(err)
	}
	return v, s.Ref
}

func TestCloneIsOneCommand(t *testing.T) {
	p := newPool(t, 64)
	n := new(atomic.Int64)
	d, err := Open(t.Context(), Config{Parent: p.parent(), Instance: "i-1", Run: counted(n)})
	if err != nil {
		t.Fatal(err)
	}
	_, snap := golden(t, d)
	n.Store(0)
	if _, err := d.Clone(t.Context(), snap, "c-1"); err != nil || n.Load() != 1 {
		t.Errorf("%d commands, %v", n.Load(), err)
	}
}

func TestUnmountedVolumesAreMountedAgain(t *testing.T) {
	d := newPool(t, 64).open(t, "i-1")
	g, snap := golden(t, d)
	c, err := d.Clone(t.Context(), snap, "c-1")
	if err != nil {
		t.Fatal(err)
	}
	for what, again := range map[string]func(context.Context) (storage.Volume, error){
		"Stat":             func(ctx context.Context) (storage.Volume, error) { return d.Stat(ctx, "c-1") },
		"Clone once more":  func(ctx context.Context) (storage.Volume, error) { return d.Clone(ctx, snap, "c-1") },
		"Create once more": func(ctx context.Context) (storage.Volume, error) { return d.Create(ctx, "g-1") },
	} {
		sh(t, "zfs", "unmount", d.parent+"/c-1")
		sh(t, "zfs", "unmount", d.parent+"/g-1")
		v, err := again(t.Context())
		if err != nil || v.Path != c.Path && v.Path != g.Path {
			t.Fatalf("%s: %+v, %v", what, v, err)
		}
		if rows, err := os.ReadFile(filepath.Join(v.Path, "rows")); string(rows) != "1" {
			t.Errorf("%s: the volume holds %q, %v", what, rows, err)
		}
		for _, id := range []string{"c-1", "g-1"} {
			if _, err := d.Stat(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
	}
	sh(t, "zfs", "unmount", d.parent+"/c-1")
	if err := d.Destroy(t.Context(), "c-1"); err != nil {
		t.Errorf("destroying an unmounted volume: %v", err)
	}
	if _, err := os.Stat(c.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its directory is left: %v", err)
	}
}

// A mount point that was changed after Open must not let a database be written
// to the disk below.
func TestAVolumeThatIsNotAtItsPathIsRefused(t *testing.T) {
	p := newPool(t, 64)
	d := p.open(t, "i-1")
	_, snap := golden(t, d)
	sh(t, "zfs", "set", "mountpoint="+filepath.Join(p.dir, "elsewhere"), d.parent)
	for range 2 {
		if v, err := d.Clone(t.Context(), snap, "c-1"); !hasReason(err, reasonMount) {
			t.Errorf("got %+v, %v", v, err)
		}
	}
	if _, err := p.open(t, "i-1").Clone(t.Context(), snap, "c-1"); err != nil {
		t.Errorf("after opening anew: %v", err)
	}
}

func TestBusyVolumesAreToBeDestroyedLater(t *testing.T) {
	d := newPool(t, 64).open(t, "i-1")
	v, snap := golden(t, d)
	if err := d.DestroySnapshot(t.Context(), snap); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(v.Path, "rows"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	wantBusy(t, d.Destroy(t.Context(), "g-1"))
	if _, err := d.Stat(t.Context(), "g-1"); err != nil {
		t.Errorf("after Destroy of a busy volume: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Destroy(t.Context(), "g-1"); err != nil {
		t.Error(err)
	}
}

// A container that is starting or ending holds copies of the host's mounts in a
// mount namespace of its own.
func TestVolumesHeldByAnotherMountNamespaceAreBusy(t *testing.T) {
	d := newPool(t, 64).open(t, "i-1")
	if _, err := d.Create(t.Context(), "c-1"); err != nil {
		t.Fatal(err)
	}
	holder := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec cat")
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	wantBusy(t, d.Destroy(t.Context(), "c-1"))
	if v, err := d.Stat(t.Context(), "c-1"); err != nil {
		t.Errorf("after Destroy of a busy volume: %+v, %v", v, err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := holder.Wait(); err != nil {
		t.Fatal(err)
	}
	// The kernel drops the namespace's mounts some time after the process.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		err := d.Destroy(ctx, "c-1")
		if err == nil {
			return
		}
		if !hasReason(err, reasonBusy) {
			t.Fatal(err)
		}
	}
}

func wantBusy(t *testing.T, err error) {
	t.Helper()
	if !errs.Is(err, errs.Unavailable) || !hasReason(err, reasonBusy) || !errs.As(err).Retryable {
		t.Fatalf("got %v, want busy", err)
	}
}

// Other tools' snapshots of our volumes are theirs, and stop a Destroy.
func TestSnapshotsOfOthersSurvive(t *testing.T) {
	d := newPool(t, 64).open(t, "i-1")
	if _, err := d.Create(t.Context(), "c-1"); err != nil {
		t.Fatal(err)
	}
	hourly := d.parent + "/c-1@hourly"
	sh(t, "zfs", "snapshot", hourly)
	if err := d.Destroy(t.Context(), "c-1"); !hasReason(err, storage.ReasonHasDependents) || errs.As(err).Hint == "" {
		t.Errorf("got %v", err)
	}
	if !exists(t, hourly) {
		t.Fatal("the snapshot is gone")
	}
	if _, err := d.Stat(t.Context(), "c-1"); err != nil {
		t.Error(err)
	}
}

// The name alone makes nothing ours.
func TestASnapshotOfOurNameWithoutOurMarkIsNotTouched(t *testing.T) {
	p := newPool(t, 64)
	d := p.open(t, "i-1")
	foreign := p.name + "/replica"
	sh(t, "zfs", "create", foreign)
	name := foreign + d.snapshotPrefix() + "s-1"
	sh(t, "zfs", "snapshot", name)
	ref := storage.SnapshotRef{Source: storage.Source{Foreign: foreign}, ID: "s-1"}
	if err := d.DestroySnapshot(t.Context(), ref); !errs.Is(err, errs.Precondition) || !hasReason(err, storage.ReasonForeign) {
		t.Errorf("DestroySnapshot: %v", err)
	}
	if _, err := d.Snapshot(t.Context(), ref.Source, ref.ID); !errs.Is(err, errs.Exists) || !hasReason(err, storage.ReasonForeign) {
		t.Errorf("Snapshot: %v", err)
	}
	if inv, err := d.List(t.Context(), []string{foreign}); err != nil || len(inv.Snapshots) != 0 {
		t.Errorf("List: %+v, %v", inv, err)
	}
	if !exists(t, name) {
		t.Error("the snapshot is gone")
	}
}

func TestAForeignDatasetMayBeMountedAnywhere(t *testing.T) {
	p := newPool(t, 64)
	d := p.open(t, "i-1")
	at := t.TempDir()
	sh(t, "zfs", "create", "-o", "mountpoint=legacy", p.name+"/replica")
	sh(t, "mount", "-t", "zfs", p.name+"/replica", at)
	t.Cleanup(func() { sh(t, "umount", at) })
	if path, err := d.ForeignPath(t.Context(), p.name+"/replica"); path != at || err != nil {
		t.Errorf("got %s, %v, want %s", path, err, at)
	}
}
