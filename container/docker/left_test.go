package docker_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// leftovers leaves behind what an Engine does that was too slow or died while a
// container ended: the directory of its task, for which it never starts the
// container again, and a process. The instance starts all the same, and alone.
func (w *private) leftovers(t *testing.T) {
	spec := w.start(t, "leftovers", "sleep", "1000")
	id := w.docker(t, "ps", "--no-trunc", "--quiet", "--filter", "label=io.cloned.id=leftovers")
	tasks := filepath.Dir(strings.TrimSpace(must(t, "find", w.engine()+"/exec", "-type", "d", "-name", id, "-path", "*runtime*.task/*")))
	if err := w.rt.Stop(t.Context(), spec.ID, time.Second); err != nil {
		t.Fatal(err)
	}
	// The Engine removes its own a moment after the container has ended.
	for deadline := time.Now().Add(10 * time.Second); os.Mkdir(filepath.Join(tasks, id), 0o700) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s stays", filepath.Join(tasks, id))
		}
	}
	left := inCgroup(t, id)
	if out, err := exec.Command("docker", "-H", w.host, "start", id).CombinedOutput(); err == nil {
		t.Fatalf("the Engine itself starts it: %s", out)
	}
	if err := w.rt.Start(t.Context(), spec); err != nil {
		t.Fatalf("Start: %v", err)
	}
	if again := w.docker(t, "ps", "--no-trunc", "--quiet", "--filter", "label=io.cloned.id=leftovers"); again == "" || again == id {
		t.Errorf("container %q, want another one than %s, running", again, id)
	}
	if state, err := left.Process.Wait(); err != nil || state.Success() {
		t.Errorf("the process that was left: %v, %v", state, err)
	}
}

// inCgroup starts a process in a cgroup of that name.
func inCgroup(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/pids"); err == nil { // version 1
		root += "/pids"
	}
	dir := filepath.Join(root, "cloned-test-"+name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
		t.Fatal(err)
	}
	return cmd
}
