package process_test

import (
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/container/containertest"
	"github.com/cloned-db/cloned/container/process"
	"github.com/cloned-db/cloned/internal/need"
)

func TestConformance(t *testing.T) {
	bin := need.Postgres(t)
	// What an aborted run left behind must not be taken for this one's.
	installation := strings.ToLower(rand.Text()[:8])
	opener := func(dir, instance string) func() (container.Runtime, error) {
		return func() (container.Runtime, error) {
			return process.Open(process.Config{Dir: dir, Instance: instance})
		}
	}
	containertest.Run(t, containertest.Subject{
		Open: opener(t.TempDir(), installation), OpenOther: opener(t.TempDir(), "x"+installation),
		Image: bin, AbsentImage: "/no/such/programs", NetworkNoneIsHost: os.Geteuid() != 0,
	})
}

// TestConformanceUnprivileged runs the suite as a user who is not root.
func TestConformanceUnprivileged(t *testing.T) {
	need.Root(t)
	need.Postgres(t)
	user := open(t, t.TempDir()).DefaultUser()
	// The test's own binary is where only root can reach it.
	dir, err := os.MkdirTemp("/var/tmp", "processtest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "test"), self, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "test"), "-test.run=^TestConformance$", "-test.v")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user.UID), Gid: uint32(user.GID)}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestConformance/Postgres") {
		t.Errorf("%v\n%s", err, out)
	}
}
