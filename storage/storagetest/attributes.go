package storagetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/storage"
)

// testAttributes: a clone has not only the content but the owners, modes,
// times, links, holes and extended attributes.
func testAttributes(t *testing.T, cfg Config) {
	d := cfg.New(t)
	v := create(t, d, "v")
	furnish(t, v.Path)
	want := describe(t, v.Path)
	c := clone(t, d, snapshot(t, d, storage.Own("v"), "s").Ref, "c")
	got := describe(t, c.Path)
	for path, w := range want {
		if got[path] != w {
			t.Errorf("%s:\n  clone  %s\n  volume %s", path, got[path], w)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s is in the clone only", path)
		}
	}
	wantHardLinks(t, c.Path)
}

// furnish fills dir with one of each kind of thing.
func furnish(t *testing.T, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	must(os.MkdirAll(in("base/empty"), 0o700))
	write(t, dir, "base/plain", "plain")
	write(t, dir, "base/nothing", "")
	write(t, dir, "name with spaces\nand \xff", "odd")
	noise(t, in("base/large"), 3<<20+17)
	must(os.Link(in("base/large"), in("twin")))
	must(os.Symlink("base/plain", in("relative")))
	must(os.Symlink("/no/such/target", in("dangling")))
	must(syscall.Mkfifo(in("fifo"), 0o640))
	sparse, err := os.Create(in("sparse"))
	must(err)
	_, err = sparse.WriteAt([]byte("end"), 64<<20)
	must(err)
	must(sparse.Close())

	must(unix.Setxattr(in("base/plain"), "user.cloned.test", []byte("a\x00b"), 0))
	must(unix.Setxattr(in("base"), "user.cloned.test", []byte("directory"), 0))
	if os.Geteuid() == 0 {
		must(os.Lchown(in("base/plain"), 12345, 54321))
		must(os.Lchown(in("base"), 999, 998))
		must(os.Lchown(in("dangling"), 999, 998))
		must(os.Lchown(in("twin"), 7, 8))
		must(os.Lchown(dir, 999, 999))
	}
	// After the owners: changing them clears these bits.
	must(os.Chmod(in("base/plain"), 0o4751))
	must(os.Chmod(in("base/nothing"), 0o400))
	must(os.Chmod(in("base"), 0o3770))
	// Last, and inside out: all of the above changes times.
	old := time.Date(2001, 2, 3, 4, 5, 6, 789000000, time.UTC)
	for _, name := range []string{"base/plain", "base/large", "base/empty", "base"} {
		must(os.Chtimes(in(name), old, old))
	}
	must(os.Chmod(dir, 0o750))
}

// describe returns a line on everything in dir, by relative path.
func describe(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		all[rel], err = describeOne(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func describeOne(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	sys := info.Sys().(*syscall.Stat_t)
	var b strings.Builder
	fmt.Fprintf(&b, "%v uid=%d gid=%d", info.Mode(), sys.Uid, sys.Gid)
	switch {
	case info.Mode().IsRegular():
		content, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, " links=%d time=%v size=%d content=%.40q sum=%x", sys.Nlink, info.ModTime(), len(content), content, sha256.Sum256(content))
		// A hole that became zeros costs space; how exactly extents are laid
		// out is the filesystem's own affair.
		fmt.Fprintf(&b, " sparse=%v", sys.Blocks*512 < info.Size()/2)
	case info.IsDir():
		fmt.Fprintf(&b, " time=%v", info.ModTime())
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, " target=%q", target)
	}
	names, err := xattrs(path)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, " %s=%q", name, value[:n])
	}
	return b.String(), nil
}

func xattrs(path string) ([]string, error) {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := strings.FieldsFunc(string(list[:n]), func(r rune) bool { return r == 0 })
	slices.Sort(names)
	return names, nil
}

func wantHardLinks(t *testing.T, dir string) {
	t.Helper()
	one, err := os.Stat(filepath.Join(dir, "base/large"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.Stat(filepath.Join(dir, "twin"))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(one, two) {
		t.Error("two names of one file became two files")
	}
}
