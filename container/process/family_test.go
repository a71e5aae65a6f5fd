package process

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/internal/need"
)

// TestFamilyOfThreads: what another thread than the first has started is found.
func TestFamilyOfThreads(t *testing.T) {
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	self, err := identify(os.Getpid(), boot)
	if err != nil {
		t.Fatal(err)
	}
	var want []int
	for range 3 { // at most one of the threads is the first
		started := make(chan *exec.Cmd)
		go func() {
			runtime.LockOSThread()
			cmd := exec.Command("sleep", "1000")
			if err := cmd.Start(); err != nil {
				t.Error(err)
			}
			started <- cmd
			_ = cmd.Wait() // the thread stays, for its children are another's when it ends
		}()
		cmd := <-started
		if cmd.Process == nil {
			t.FailNow()
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		want = append(want, cmd.Process.Pid)
	}
	family, err := familyOf(self)
	if err != nil || len(family) == 0 || family[0].identity != self {
		t.Fatalf("%+v, %v", family, err)
	}
	for _, pid := range want {
		if !slices.ContainsFunc(family, func(one relative) bool { return one.PID == pid }) {
			t.Errorf("process %d is not in %+v", pid, family)
		}
	}
	other := self
	other.Start++
	if family, err := familyOf(other); err != nil || len(family) != 0 {
		t.Errorf("of a process that has ended: %+v, %v", family, err)
	}
}

// TestFrozenByAnother: what a daemon that died has left frozen goes on, all of it.
func TestFrozenByAnother(t *testing.T) {
	need.Root(t)
	const id = "c-5-1"
	config := Config{Dir: t.TempDir(), Instance: "t" + strconv.Itoa(os.Getpid())}
	r, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Remove(context.Background(), id); err != nil {
			t.Error(err)
		}
	})
	err = r.Start(t.Context(), container.Spec{ID: id, Image: "/usr/bin", Argv: []string{"sh", "-c", "sleep 1000 & sleep 1000 & wait"}, Volume: "/", User: r.DefaultUser(), StopSignal: "SIGTERM"})
	if err != nil {
		t.Fatal(err)
	}
	w, err := r.find(id)
	if err != nil {
		t.Fatal(err)
	}
	// are the states of its processes, once it has started them.
	are := func() (stopped []bool) {
		for deadline := time.Now().Add(20 * time.Second); len(stopped) < 3; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("of its processes there are %v", stopped)
			}
			family, err := r.family(w, id)
			if err != nil {
				t.Fatal(err)
			}
			stopped = nil
			for _, one := range family {
				stopped = append(stopped, one.stopped)
			}
		}
		return stopped
	}
	if have := are(); slices.Contains(have, true) {
		t.Errorf("stopped before: %v", have)
	}
	if err := r.Freeze(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if have := are(); slices.Contains(have, false) {
		t.Errorf("frozen are %v", have)
	}
	// In the middle of letting them go on, by any order of ours.
	family, err := r.family(w, id)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range family[1:] {
		if err := one.signal(r.boot, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	another, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	defer another.Close()
	if in, err := another.Inspect(t.Context(), id); err != nil || in.State != container.Frozen {
		t.Errorf("frozen in part: %+v, %v", in, err)
	}
	if err := another.Thaw(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if have := are(); slices.Contains(have, true) {
		t.Errorf("thawed, and stopped are %v", have)
	}
}
