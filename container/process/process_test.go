package process_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/container/process"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/need"
)

// What an aborted run left behind must not be taken for this one's.
var installation = "t" + strconv.Itoa(os.Getpid())

func open(t *testing.T, dir string) *process.Runtime {
	t.Helper()
	r, err := process.Open(process.Config{Dir: dir, Instance: installation})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		list, err := r.List(context.Background())
		if err != nil {
			t.Error(err)
		}
		for _, in := range list {
			if err := r.Remove(context.Background(), in.ID); err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

func spec(r *process.Runtime, id, script string) container.Spec {
	return container.Spec{ID: id, Image: "/usr/bin", Argv: []string{"sh", "-c", script}, Volume: "/", User: r.DefaultUser(), StopSignal: "SIGTERM"}
}

// TestFamily removes an instance and finds nothing that it had started.
func TestFamily(t *testing.T) {
	need.Root(t)
	r := open(t, t.TempDir())
	marker := "31" + strconv.Itoa(os.Getpid())
	if err := r.Start(t.Context(), spec(r, "c-2-1", "setsid sleep "+marker+" & setsid sleep "+marker+" & sleep "+marker)); err != nil {
		t.Fatal(err)
	}
	for running(t, marker) < 3 {
		time.Sleep(time.Millisecond)
	}
	if err := r.Remove(t.Context(), "c-2-1"); err != nil {
		t.Fatal(err)
	}
	if n := running(t, marker); n != 0 {
		t.Errorf("%d of its processes live", n)
	}
	if _, err := r.Inspect(t.Context(), "c-2-1"); !errs.Is(err, errs.NotFound) {
		t.Errorf("Inspect after Remove: %v", err)
	}
}

func running(t *testing.T, marker string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && string(data) == "sleep\x00"+marker+"\x00" {
			n++
		}
	}
	return n
}

// TestRecordWithoutProcess finds the process of a daemon that died between
// starting it and writing its ID down.
func TestRecordWithoutProcess(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "c-4-1.json"), []byte(`{"id":"c-4-1"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	cmd.Env = []string{"CLONED_INSTANCE=" + installation + "/c-4-1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	r := open(t, dir)
	if in, err := r.Inspect(t.Context(), "c-4-1"); err != nil || in.State != container.Running {
		t.Errorf("%+v, %v", in, err)
	}
	if err := r.Remove(t.Context(), "c-4-1"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the process lives")
	}
}
