package daemon

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/cloned-db/cloned/errs"
)

func TestInstallationStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	unlock, err := lockStateDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, err := openInstallation(dir)
	if err != nil {
		t.Fatal(err)
	}
	first.Storage = Choice{Name: "dir", Reason: "because"}
	if err := first.save(); err != nil {
		t.Fatal(err)
	}
	if _, err := lockStateDir(dir); errs.As(err).Reason != "ALREADY_RUNNING" {
		t.Errorf("a second daemon: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if unlock, err = lockStateDir(dir); err != nil {
		t.Fatalf("after unlock: %v", err)
	}
	defer unlock()

	again, err := openInstallation(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again.Instance != first.Instance || !bytes.Equal(again.Key, first.Key) || again.Storage != first.Storage {
		t.Errorf("was %+v, is %+v", first, again)
	}
	if !instancePattern.MatchString(again.Instance) || len(again.Key) != keyBytes {
		t.Errorf("instance %q, key of %d bytes", again.Instance, len(again.Key))
	}
	for _, name := range []string{fileKey, fileInstallation, fileLock} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

// TestInstallationLost: nothing is made anew beside records that need the old.
func TestInstallationLost(t *testing.T) {
	for _, c := range []struct {
		name, file, reason string
		spoil              func(path string) error
	}{
		{"no identity", fileInstallation, "IDENTITY_LOST", os.Remove},
		{"no key", fileKey, "IDENTITY_LOST", os.Remove},
		{"empty identity", fileInstallation, "IDENTITY_DAMAGED", truncate},
		{"empty key", fileKey, "IDENTITY_DAMAGED", truncate},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := openInstallation(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, fileStore), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(filepath.Join(dir, c.file)); err != nil {
				t.Fatal(err)
			}
			if _, err := openInstallation(dir); !errs.Is(err, errs.Corrupt) || errs.As(err).Reason != c.reason {
				t.Errorf("got %v", err)
			}
		})
	}
}

func truncate(path string) error { return os.Truncate(path, 0) }

func TestStateDirUnusable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := lockStateDir(filepath.Join(file, "state")); !errs.Is(err, errs.Precondition) || errs.As(err).Hint == "" {
		t.Errorf("got %v", err)
	}
}
