package base

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// TestGoneWhileLooking: what is unmounted in the middle of a list ends it with an
// error, and what is not found then is not certain to be absent.
func TestGoneWhileLooking(t *testing.T) {
	root := t.TempDir()
	b, err := Open(root, "i-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if err := Mkdir(b.Join(id), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	err = Each(b.Path, storage.CheckID, func(name string) error {
		if seen++; seen == 2 {
			if err := os.Rename(b.Path, filepath.Join(root, "away")); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(b.Path, 0o700); err != nil { // what was below the mount
				t.Fatal(err)
			}
		}
		_, err := os.Stat(b.Join(name))
		return err
	})
	if err != nil || seen != 3 {
		t.Fatalf("%d seen, %v: there was nothing to notice", seen, err)
	}
	for _, found := range []error{nil, Absent("a")} {
		if err := b.Still(t.Context(), found); !errs.Is(err, errs.Unavailable) {
			t.Errorf("%v becomes %v", found, err)
		}
	}
	if failure := errors.New("another"); b.Still(t.Context(), failure) != failure {
		t.Error("another failure is lost")
	}
	if err := errors.Join(os.Remove(b.Path), os.Rename(filepath.Join(root, "away"), b.Path)); err != nil {
		t.Fatal(err)
	}
	if err := b.Still(t.Context(), Absent("x")); !errs.Is(err, errs.NotFound) {
		t.Errorf("mounted again: %v", err)
	}
}
