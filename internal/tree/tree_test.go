package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func write(t *testing.T, path string, size int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCopyRefuses(t *testing.T) {
	src := t.TempDir()
	write(t, filepath.Join(src, "file"), 1)
	if err := Copy(t.Context(), src, src, false); !errors.Is(err, os.ErrExist) {
		t.Errorf("copy onto what exists: %v", err)
	}
	if err := Copy(t.Context(), filepath.Join(src, "none"), filepath.Join(t.TempDir(), "c"), false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("copy of nothing: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Copy(ctx, src, filepath.Join(t.TempDir(), "c"), false); !errors.Is(err, context.Canceled) {
		t.Errorf("copy with a context that has ended: %v", err)
	}
}

// TestCopyStaysInside: a link in the source is copied, never followed.
func TestCopyStaysInside(t *testing.T) {
	outside, src, dst := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "copy")
	write(t, filepath.Join(outside, "secret"), 10)
	for name, target := range map[string]string{"dir": outside, "file": filepath.Join(outside, "secret")} {
		if err := os.Symlink(target, filepath.Join(src, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Copy(t.Context(), src, dst, false); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dir", "file"} {
		if info, err := os.Lstat(filepath.Join(dst, name)); err != nil || info.Mode().Type() != os.ModeSymlink {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	size, err := Measure(t.Context(), src)
	if err != nil || size.Logical != 0 {
		t.Errorf("Measure: %+v, %v", size, err)
	}
}

func TestMeasure(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a", "b", "c"), 100_000)
	write(t, filepath.Join(dir, "not UTF-8: \xff", "\xfe"), 50_000)
	if err := os.Link(filepath.Join(dir, "a", "b", "c"), filepath.Join(dir, "again")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	size, err := Measure(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if size.Logical != 150_000 || size.Unique < 150_000 || size.Unique > 250_000 {
		t.Errorf("%+v", size)
	}
	if _, err := Measure(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of nothing: %v", err)
	}
}

// TestMeasureFragments needs more than one call for a file's extents.
func TestMeasureFragments(t *testing.T) {
	const pieces = 1000
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range int64(pieces) {
		if _, err := f.WriteAt(make([]byte, 4096), i*3*4096); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	size, err := Measure(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(pieces * 4096); size.Unique < want || size.Unique > want+64<<10 {
		t.Errorf("%d bytes, want %d", size.Unique, want)
	}
}

func TestRemove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	for i := range 3 {
		sub := filepath.Join(dir, fmt.Sprint(i), "sub")
		write(t, filepath.Join(sub, "file"), 1)
		for _, d := range []string{sub, filepath.Dir(sub)} {
			if err := os.Chmod(d, 0o500); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		if err := Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}
