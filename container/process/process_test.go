package process_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/container/process"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/need"
)

func open(t *testing.T, dir string) *process.Runtime {
	t.Helper()
	r, err := process.Open(process.Config{Dir: dir, Instance: "testinst"})
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

// TestFoundAgain opens the records a second time, as a new daemon does: the
// instance still runs, its end is noticed, and it can be removed.
func TestFoundAgain(t *testing.T) {
	need.Root(t)
	dir := t.TempDir()
	first := open(t, dir)
	if err := first.Start(t.Context(), spec(first, "c-1-1", "sleep 1000 & sleep 1000")); err != nil {
		t.Fatal(err)
	}
	second := open(t, dir)
	in, err := second.Inspect(t.Context(), "c-1-1")
	if err != nil || in.State != container.Running {
		t.Fatalf("%+v, %v", in, err)
	}
	events := second.Events(t.Context())
	if err := second.Stop(t.Context(), "c-1-1", 10*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-events:
		if e.ID != "c-1-1" {
			t.Errorf("event of %s", e.ID)
		}
	case <-time.After(2 * time.Second):
		t.Error("its end was not noticed")
	}
	if in, err = second.Inspect(t.Context(), "c-1-1"); err != nil || in.State != container.Exited {
		t.Errorf("%+v, %v", in, err)
	}
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

// TestPortTaken refuses a port that something listens on, and leaves nothing.
func TestPortTaken(t *testing.T) {
	need.Root(t)
	r := open(t, t.TempDir())
	s := spec(r, "c-3-1", "sleep 1000")
	s.PublishAddr, s.PublishPort = "127.0.0.1", listen(t)
	err := r.Start(t.Context(), s)
	if e := errs.As(err); e == nil || e.Reason != container.ReasonPortTaken || !strings.Contains(e.Message, strconv.Itoa(s.PublishPort)) {
		t.Errorf("%v", err)
	}
	if list, err := r.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestUnprivileged starts a process that is not root and can't become it.
func TestUnprivileged(t *testing.T) {
	need.Root(t)
	r := open(t, t.TempDir())
	var lines []string
	err := r.Run(t.Context(), container.Task{ID: "t-1", Image: "/usr/bin", Argv: []string{"sh", "-c", "id -u; grep NoNewPrivs /proc/self/status; ls /sys/class/net 2>/dev/null | wc -l; cat /proc/net/route | wc -l"},
		User: r.DefaultUser(), Output: func(l string) { lines = append(lines, strings.Join(strings.Fields(l), " ")) }})
	if err != nil {
		t.Fatal(err)
	}
	if lines[0] != strconv.Itoa(r.DefaultUser().UID) || lines[1] != "NoNewPrivs: 1" {
		t.Errorf("%q", lines)
	}
}

// TestTask passes the exit code and the last lines on, and is killed with its
// context.
func TestTask(t *testing.T) {
	need.Root(t)
	r := open(t, t.TempDir())
	err := r.Run(t.Context(), container.Task{ID: "t-1", Image: "/usr/bin", Argv: []string{"sh", "-c", "echo one; printf 'two\\rthree'; exit 3"}, User: r.DefaultUser()})
	if e := errs.As(err); e == nil || e.Reason != container.ReasonTaskFailed || strings.Join(e.Log, ",") != "one,two,three" || !strings.Contains(e.Message, "3") {
		t.Errorf("%+v", e)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	err = r.Run(ctx, container.Task{ID: "t-2", Image: "/usr/bin", Argv: []string{"sh", "-c", "setsid sleep 100 & sleep 100"}, User: r.DefaultUser()})
	if err == nil || time.Since(begin) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
	if list, err := r.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("left: %v, %v", list, err)
	}
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
	cmd.Env = []string{"CLONED_INSTANCE=testinst/c-4-1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go cmd.Wait()
	r := open(t, dir)
	if in, err := r.Inspect(t.Context(), "c-4-1"); err != nil || in.State != container.Running {
		t.Errorf("%+v, %v", in, err)
	}
	if err := r.Remove(t.Context(), "c-4-1"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err == nil {
		t.Error("the process lives")
	}
}
