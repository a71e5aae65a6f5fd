package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
	"github.com/cloned-db/cloned/state"
)

// notRunning is for backups that must not ask a daemon.
func notRunning(context.Context, io.Writer) error { return errors.New("a daemon was asked") }

// withRecords starts a daemon on records of its own.
func withRecords(t *testing.T, cfg Config) (stop func()) {
	t.Helper()
	startDaemon(t, cfg, testOptions())()
	store, err := state.Open(storePath(cfg.StateDir), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = store.Update(func(tx *state.Tx) error {
		tx.PutGolden(&state.Golden{Name: "shop", Engine: "postgres", Published: true})
		tx.PutClone(&state.Clone{ID: "aaaaaaaaaa", Name: "dev", State: state.CloneFailed, Expires: time.Now().Add(time.Minute)})
		return nil
	})
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	return startDaemon(t, cfg, testOptions())
}

// TestBackup backs a running daemon up, loses everything, and puts it back: identity,
// key and records are as they were.
func TestBackup(t *testing.T) {
	cfg := testConfig(t)
	file := filepath.Join(t.TempDir(), "backup.tar")
	if _, err := Backup(t.Context(), cfg, file, notRunning); errs.As(err).Reason != "NO_STATE" {
		t.Errorf("of nothing: %v", err)
	}
	stop := withRecords(t, cfg)
	ask := func(ctx context.Context, w io.Writer) error { return dialDaemon(t, cfg.Listen[0]).BackupState(ctx, w) }
	made, err := Backup(t.Context(), cfg, file, ask)
	if err != nil || made.Goldens != 1 || made.Clones != 1 {
		t.Fatalf("backup: %+v, %v", made, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup has mode %v, %v", info.Mode(), err)
	}
	if now, err := CheckState(t.Context(), cfg, ask); err != nil || now != made {
		t.Errorf("check while it runs: %+v, %v", now, err)
	}
	if _, _, err := Restore(cfg, file, true); errs.As(err).Reason != reasonRunning {
		t.Errorf("restore while it runs: %v", err)
	}
	stop()
	again := filepath.Join(t.TempDir(), "again.tar")
	if now, err := Backup(t.Context(), cfg, again, notRunning); err != nil || now != made {
		t.Errorf("backup of a daemon that does not run: %+v, %v", now, err)
	}
	for _, path := range []string{file, again} {
		if c, err := CheckBackup(path); err != nil || c != made {
			t.Errorf("check of %s: %+v, %v", path, c, err)
		}
	}
	if _, _, err := Restore(cfg, file, false); errs.As(err).Reason != "STATE_EXISTS" || !strings.Contains(errs.As(err).Hint, "--force") {
		t.Errorf("restore over a state: %v", err)
	}
	key := readFile(t, filepath.Join(cfg.StateDir, fileKey))
	records := readFile(t, storePath(cfg.StateDir))
	for _, name := range backedUp {
		if err := os.Remove(filepath.Join(cfg.StateDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	put, aside, err := Restore(cfg, file, false)
	if err != nil || aside != "" || put != made {
		t.Fatalf("restore: %+v aside %q, %v", put, aside, err)
	}
	if !bytes.Equal(readFile(t, filepath.Join(cfg.StateDir, fileKey)), key) {
		t.Error("the key is another")
	}
	put, aside, err = Restore(cfg, again, true)
	if err != nil || put != made {
		t.Fatalf("restore by force: %+v, %v", put, err)
	}
	if c, err := CheckState(t.Context(), cfg, notRunning); err != nil || c.Instance != made.Instance || c.Clones != 1 {
		t.Errorf("what was put back: %+v, %v", c, err)
	}
	for _, name := range backedUp {
		readFile(t, filepath.Join(aside, name))
	}
	// What is kept aside is a state, and so is what the daemon wrote before.
	if err := errors.Join(state.Check(storePath(aside)), os.WriteFile(filepath.Join(aside, "before.db"), records, 0o600), state.Check(filepath.Join(aside, "before.db"))); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(cfg.StateDir, "restoring-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	startDaemon(t, cfg, testOptions())
	dev, err := dialDaemon(t, cfg.Listen[0]).Clones.GetClone(t.Context(), &clonedv1.GetCloneRequest{Name: "dev"})
	if err != nil || time.Until(dev.GetClone().GetExpireTime().AsTime()) < 23*time.Hour {
		t.Errorf("it expires at %v, less than a day after it was put back: %v", dev.GetClone().GetExpireTime().AsTime(), err)
	}
}

// TestBackupDamaged cuts a backup anywhere and flips a bit anywhere: nothing of it is
// put back.
func TestBackupDamaged(t *testing.T) {
	cfg := testConfig(t)
	withRecords(t, cfg)()
	file := filepath.Join(t.TempDir(), "backup.tar")
	if _, err := Backup(t.Context(), cfg, file, notRunning); err != nil {
		t.Fatal(err)
	}
	whole := readFile(t, file)
	before := readFile(t, storePath(cfg.StateDir))
	try := func(what string, at int, data []byte) {
		t.Helper()
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, checked := CheckBackup(file)
		if checked == nil {
			// Only what no checksum need cover: padding, times, owners of the archive.
			files, err := unpack(file)
			if err != nil || !bytes.Equal(files[fileStore], before) {
				t.Errorf("%s at %d: taken for whole", what, at)
			}
			return
		}
		if !errs.Is(checked, errs.Corrupt) || errs.As(checked).Hint == "" {
			t.Errorf("%s at %d: %v", what, at, checked)
		}
		if _, _, err := Restore(cfg, file, true); !errs.Is(err, errs.Corrupt) {
			t.Errorf("%s at %d: restore: %v", what, at, err)
		}
	}
	for at := 0; at < len(whole)-2048; at += 4001 {
		try("cut", at, whole[:at])
		flipped := bytes.Clone(whole)
		flipped[at] ^= 1 << (at % 8)
		try("flipped", at, flipped)
	}
	try("nonsense", 0, []byte(strings.Repeat("nonsense", 1000)))
	if !bytes.Equal(readFile(t, storePath(cfg.StateDir)), before) {
		t.Error("the state has changed")
	}
	if _, err := CheckBackup(filepath.Join(t.TempDir(), "none")); !errs.Is(err, errs.Invalid) {
		t.Errorf("no file: %v", err)
	}
}

// TestRestoreNewer refuses the backup of a newer cloned, and names both versions.
func TestRestoreNewer(t *testing.T) {
	cfg := testConfig(t)
	withRecords(t, cfg)()
	files, err := gather(t.Context(), cfg.StateDir, notRunning)
	if err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(t.TempDir(), "newer.db")
	if err := os.WriteFile(newer, files[fileStore], 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(newer, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("version"), []byte("77")) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	files[fileStore] = readFile(t, newer)
	archive, err := pack(files)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "backup.tar")
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Restore(cfg, file, true); errs.As(err).Reason != "STATE_NEWER" || !strings.Contains(err.Error(), "version 77") || errs.As(err).Hint == "" {
		t.Errorf("restore: %v", err)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestFindingsOfFiles damages the state directory under a running daemon.
func TestFindingsOfFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	inst, err := openInstallation(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(storePath(dir), []byte("records"), 0o600); err != nil {
		t.Fatal(err)
	}
	if f := inst.findings(); len(f) > 0 {
		t.Fatalf("all should be well: %+v", f)
	}
	for _, c := range []struct {
		what   string
		damage func() (mend func() error, err error)
		says   string
	}{
		{"key open to all", chmod(filepath.Join(dir, fileKey), 0o644, 0o600), "key has mode 644"},
		{"records open to the group", chmod(storePath(dir), 0o640, 0o600), "state.db has mode 640"},
		{"directory open to all", chmod(dir, 0o777, 0o711), "has mode 777"},
		{"key gone", moved(filepath.Join(dir, fileKey)), "key is missing"},
		{"records gone", moved(storePath(dir)), "the records are gone"},
		{"identity gone", moved(filepath.Join(dir, fileInstallation)), "installation.json is missing"},
		{"another key", replaced(filepath.Join(dir, fileKey), bytes.Repeat([]byte("k"), keyBytes)), "is another than at the start"},
		{"another identity", replaced(filepath.Join(dir, fileInstallation), []byte(`{"instance":"aaaaaaaa"}`)), "is of installation aaaaaaaa"},
	} {
		mend, err := c.damage()
		if err != nil {
			t.Fatal(err)
		}
		if f := inst.findings(); len(f) != 1 || !strings.Contains(f[0].Message, c.says) || f[0].Remedy == "" || f[0].Check != checkFiles {
			t.Errorf("%s: %+v", c.what, f)
		}
		if err := mend(); err != nil {
			t.Fatal(err)
		}
		if f := inst.findings(); len(f) > 0 {
			t.Errorf("%s: mended, and still %+v", c.what, f)
		}
	}
}

func chmod(path string, bad, good os.FileMode) func() (func() error, error) {
	return func() (func() error, error) {
		return func() error { return os.Chmod(path, good) }, os.Chmod(path, bad)
	}
}

func moved(path string) func() (func() error, error) {
	return func() (func() error, error) {
		return func() error { return os.Rename(path+".away", path) }, os.Rename(path, path+".away")
	}
}

func replaced(path string, by []byte) func() (func() error, error) {
	return func() (func() error, error) {
		was, err := os.ReadFile(path)
		return func() error { return os.WriteFile(path, was, 0o600) }, errors.Join(err, os.WriteFile(path, by, 0o600))
	}
}
