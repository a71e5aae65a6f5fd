package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestPlaceReplace: a file is made once, and then replaced; where that fails all
// is as before, and nothing is left beside it.
func TestPlaceReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	check := func(content string, mode fs.FileMode) {
		t.Helper()
		if have, err := os.ReadFile(path); err != nil || string(have) != content {
			t.Errorf("it has %q, %v; want %q", have, err, content)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("mode %v, %v; want %v", info.Mode(), err, mode)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("beside it: %v, %v", entries, err)
		}
	}
	if err := Place(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("one", 0o600)
	if err := Place(path, []byte("two"), 0o644); !errors.Is(err, fs.ErrExist) {
		t.Errorf("placed twice: %v", err)
	}
	check("one", 0o600)
	if err := Replace(path, []byte("three"), 0o644); err != nil {
		t.Fatal(err)
	}
	check("three", 0o644)
	if err := Replace(filepath.Join(dir, "missing", "key"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in no directory: %v", err)
	}
}

// TestSweep: what was being written when the power went is removed, and nothing
// else.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".key.new-123", "key", ".hidden", "a.new-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Sweep(dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{".hidden", "a.new-1", "key"}; err != nil || !slices.Equal(left, want) {
		t.Errorf("left: %v, %v; want %v", left, err, want)
	}
}
