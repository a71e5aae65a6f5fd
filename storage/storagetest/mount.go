package storagetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Filesystem makes a filesystem in a file and mounts it for the length of the
// test: size in bytes, mkfs the command and arguments before the file's name.
// It returns where.
func Filesystem(t testing.TB, size int64, mkfs ...string) string {
	t.Helper()
	dir := t.TempDir()
	file, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(mount, 0o755); err != nil {
		t.Fatal(err)
	}
	execute(t, append(mkfs, file)...)
	execute(t, "mount", "-o", "loop,noatime", file, mount)
	// The loop device goes with the mount.
	t.Cleanup(func() { execute(t, "umount", "--lazy", mount) })
	return mount
}

func execute(t testing.TB, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
}
