// Package need lets a test say which real thing it runs on. Without that thing
// the test is skipped, unless the environment variable CLONED_REQUIRE names it:
// then it fails, so that a complete run can't pass by skipping. The variable
// holds names separated by commas: root,btrfs,xfs,zfs,docker,postgres.
//
// Only tests import this package.
package need

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Root needs the rights of the superuser.
func Root(t testing.TB) {
	t.Helper()
	superuser(t, "root")
}

// Btrfs needs root, btrfs in the kernel, its tools, and loop devices.
func Btrfs(t testing.TB) {
	t.Helper()
	loopFilesystem(t, "btrfs", "mkfs.btrfs")
}

// XFS needs root, XFS in the kernel, its tools, and loop devices.
func XFS(t testing.TB) {
	t.Helper()
	loopFilesystem(t, "xfs", "mkfs.xfs")
}

// ZFS needs root, OpenZFS in the kernel, and its tools.
func ZFS(t testing.TB) {
	t.Helper()
	superuser(t, "zfs")
	if _, err := os.Stat("/dev/zfs"); err != nil {
		missing(t, "zfs", "the kernel module is not loaded: "+err.Error())
	}
	tool(t, "zfs", "zfs")
	tool(t, "zfs", "zpool")
}

// Docker needs an engine that answers the docker command.
func Docker(t testing.TB) {
	t.Helper()
	tool(t, "docker", "docker")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "docker", "version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
		missing(t, "docker", "no engine answers: "+strings.TrimSpace(string(out))+": "+err.Error())
	}
}

// Postgres needs PostgreSQL's server programs and returns the folder of the
// newest ones.
func Postgres(t testing.TB) (bin string) {
	t.Helper()
	// Debian keeps each major version's programs in a folder of its own; 9.x
	// would sort wrongly and is not supported anyway.
	found, err := filepath.Glob("/usr/lib/postgresql/[1-9][0-9]/bin/postgres")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) > 0 {
		return filepath.Dir(slices.Max(found))
	}
	path, err := exec.LookPath("postgres")
	if err != nil {
		missing(t, "postgres", "no PostgreSQL in /usr/lib/postgresql or on PATH")
	}
	return filepath.Dir(path)
}

func loopFilesystem(t testing.TB, name, mkfs string) {
	t.Helper()
	superuser(t, name)
	tool(t, name, mkfs)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		missing(t, name, "no loop devices: "+err.Error())
	}
	known, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(strings.Fields(string(known)), name) {
		return
	}
	if out, err := exec.CommandContext(t.Context(), "modprobe", name).CombinedOutput(); err != nil {
		missing(t, name, "not in the kernel: "+strings.TrimSpace(string(out))+": "+err.Error())
	}
}

func superuser(t testing.TB, thing string) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, thing, "the tests do not run as root")
	}
}

func tool(t testing.TB, thing, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		missing(t, thing, err.Error())
	}
}

// missing ends the test: failed if the thing is required, skipped otherwise.
func missing(t testing.TB, thing, why string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("CLONED_REQUIRE"), ","), thing) {
		t.Fatalf("CLONED_REQUIRE names %s, but %s", thing, why)
	}
	t.Skipf("needs %s: %s", thing, why)
}
