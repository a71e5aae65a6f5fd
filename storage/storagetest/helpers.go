package storagetest

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// These wrap a driver's methods for the calls that must succeed.

func create(t *testing.T, d storage.Driver, id string) storage.Volume {
	t.Helper()
	v, err := d.Create(t.Context(), id)
	if err != nil {
		t.Fatalf("Create(%q): %v", id, err)
	}
	checkVolume(t, v, id)
	return v
}

func snapshot(t *testing.T, d storage.Driver, src storage.Source, id string) storage.Snapshot {
	t.Helper()
	s, err := d.Snapshot(t.Context(), src, id)
	if err != nil {
		t.Fatalf("Snapshot(%+v, %q): %v", src, id, err)
	}
	if want := (storage.SnapshotRef{Source: src, ID: id}); s.Ref != want {
		t.Fatalf("Snapshot returned %+v, want %+v", s.Ref, want)
	}
	checkRecent(t, s.Created)
	return s
}

func clone(t *testing.T, d storage.Driver, from storage.SnapshotRef, id string) storage.Volume {
	t.Helper()
	v, err := d.Clone(t.Context(), from, id)
	if err != nil {
		t.Fatalf("Clone(%+v, %q): %v", from, id, err)
	}
	checkVolume(t, v, id)
	if v.Origin == nil || *v.Origin != from {
		t.Fatalf("Clone returned origin %+v, want %+v", v.Origin, from)
	}
	return v
}

func stat(t *testing.T, d storage.Driver, id string) storage.Volume {
	t.Helper()
	v, err := d.Stat(t.Context(), id)
	if err != nil {
		t.Fatalf("Stat(%q): %v", id, err)
	}
	checkVolume(t, v, id)
	return v
}

func destroy(t *testing.T, d storage.Driver, id string) {
	t.Helper()
	if err := d.Destroy(t.Context(), id); err != nil {
		t.Fatalf("Destroy(%q): %v", id, err)
	}
}

func destroySnapshot(t *testing.T, d storage.Driver, ref storage.SnapshotRef) {
	t.Helper()
	if err := d.DestroySnapshot(t.Context(), ref); err != nil {
		t.Fatalf("DestroySnapshot(%+v): %v", ref, err)
	}
}

func ref(volume, id string) storage.SnapshotRef {
	return storage.SnapshotRef{Source: storage.Own(volume), ID: id}
}

func checkVolume(t *testing.T, v storage.Volume, id string) {
	t.Helper()
	if v.ID != id {
		t.Fatalf("volume's ID is %q, want %q", v.ID, id)
	}
	if !filepath.IsAbs(v.Path) {
		t.Fatalf("path of volume %q is %q, want an absolute one", id, v.Path)
	}
	if info, err := os.Stat(v.Path); err != nil || !info.IsDir() {
		t.Fatalf("path of volume %q is not a directory that the host sees: %v, %v", id, info, err)
	}
	checkRecent(t, v.Created)
}

// checkRecent allows for coarse file times and slow test machines.
func checkRecent(t *testing.T, created time.Time) {
	t.Helper()
	if age := time.Since(created); age < -2*time.Second || age > time.Hour {
		t.Fatalf("created %v, that is %v ago", created, age)
	}
}

func wantKind(t *testing.T, err error, kind errs.Kind, what string) {
	t.Helper()
	if err == nil {
		t.Fatalf("%s succeeded, want an error of kind %v", what, kind)
	}
	var e *errs.Error
	if !errors.As(err, &e) {
		t.Fatalf("%s: error without a kind: %v", what, err)
	}
	if e.Kind != kind {
		t.Fatalf("%s: kind %v, want %v: %v", what, e.Kind, kind, err)
	}
}

func wantReason(t *testing.T, err error, kind errs.Kind, reason, what string) {
	t.Helper()
	wantKind(t, err, kind, what)
	if got := errs.As(err).Reason; got != reason {
		t.Fatalf("%s: reason %s, want %s: %v", what, got, reason, err)
	}
}

func list(t *testing.T, d storage.Driver, foreign ...string) storage.Inventory {
	t.Helper()
	inv, err := d.List(t.Context(), foreign)
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	return inv
}

// wantList checks that the driver owns exactly these volumes and snapshots,
// given as "volume" and "volume@snapshot" or "foreign@snapshot".
func wantList(t *testing.T, d storage.Driver, foreign []string, want ...string) {
	t.Helper()
	inv := list(t, d, foreign...)
	var got []string
	for _, v := range inv.Volumes {
		got = append(got, v.ID)
	}
	for _, s := range inv.Snapshots {
		got = append(got, s.Ref.Source.Volume+s.Ref.Source.Foreign+"@"+s.Ref.ID)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("List returned\n  %s\nwant\n  %s", strings.Join(got, " "), strings.Join(want, " "))
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantFile checks a file's content.
func wantFile(t *testing.T, dir, name, content string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != content {
		t.Fatalf("%s holds %.80q, want %.80q", filepath.Join(dir, name), got, content)
	}
}

// wantNames checks which files a directory holds.
func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("%s holds %q, want %q", dir, got, want)
	}
}

// noise writes n bytes that no filesystem can compress or share.
func noise(t *testing.T, path string, n int) {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// eventually looks until check finds nothing wrong: for figures that may be a
// few seconds old.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatal(err)
		case <-again.C:
		}
	}
}
