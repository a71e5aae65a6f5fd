package containertest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// newTask describes a task that runs a shell script in a volume of its own.
func (s suite) newTask(t *testing.T, script string, output func(string)) container.Task {
	t.Helper()
	volume := s.newVolume(t)
	return container.Task{
		ID: s.newID(t), Image: s.Image, User: s.user, Volume: volume, Output: output,
		Argv: []string{"sh", "-c", `cd "$0" && ` + script, s.rt.VolumePath(volume)},
	}
}

func (s suite) runTask(t *testing.T, script string, output func(string)) {
	t.Helper()
	if err := s.rt.Run(t.Context(), s.newTask(t, script, output)); err != nil {
		t.Fatalf("Run: %v", err)
	}
}

func (s suite) task(t *testing.T) {
	var lines []string
	task := s.newTask(t, `echo one; printf '10%%\r20%%\r100%%\n'; printf "$GREETING"; pwd > where; exec >&-`, func(line string) { lines = append(lines, line) })
	task.Env = []string{"GREETING=no end"}
	if err := s.rt.Run(t.Context(), task); err != nil {
		t.Fatalf("Run: %v", err)
	}
	if want := []string{"one", "10%", "20%", "100%", "no end"}; !slices.Equal(lines, want) {
		t.Errorf("output %q, want %q", lines, want)
	}
	if got, want := read(t, task.Volume, "where"), s.rt.VolumePath(task.Volume)+"\n"; got != want {
		t.Errorf("it ran in %q, want %q", got, want)
	}
	s.wantAbsent(t, task.ID)

	// All of a long output comes, and a task needs neither volume nor Output.
	n := 0
	s.runTask(t, `i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done`, func(string) { n++ })
	if n != 20000 {
		t.Errorf("%d of 20000 lines came", n)
	}
	if err := s.rt.Run(t.Context(), container.Task{ID: s.newID(t), Image: s.Image, User: s.user, Argv: []string{"true"}}); err != nil {
		t.Errorf("a task without a volume: %v", err)
	}
}

func (s suite) taskFails(t *testing.T) {
	task := s.newTask(t, `i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done; echo no such thing; exit 9`, nil)
	e := wantError(t, s.rt.Run(t.Context(), task), errs.Precondition, container.ReasonTaskFailed, "9")
	if len(e.Log) != 40 || e.Log[39] != "no such thing" || e.Log[0] != "line 61" {
		t.Errorf("its last lines: %q", e.Log)
	}
	s.wantAbsent(t, task.ID)
	for _, change := range []func(*container.Task){
		func(k *container.Task) { k.Image = s.AbsentImage },
		func(k *container.Task) { k.Argv = []string{"no-such-program"} },
		func(k *container.Task) { k.Volume += "/absent" },
	} {
		task := s.newTask(t, "exit 0", nil)
		change(&task)
		err := s.rt.Run(t.Context(), task)
		if err == nil {
			t.Errorf("%q with %s on %s: no error", task.Argv, task.Image, task.Volume)
		}
		if task.Image == s.AbsentImage {
			wantError(t, err, errs.Precondition, container.ReasonImageMissing, s.AbsentImage)
		}
		s.wantAbsent(t, task.ID)
	}
}

func (s suite) taskCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	task := s.newTask(t, `( (while :; do sleep 0.01; done) & ); echo started; trap '' TERM; while :; do sleep 1; done`, func(string) { cancel() })
	done := make(chan error, 1)
	go func() { done <- s.rt.Run(ctx, task) }()
	err := within(t, done)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error in it", err)
	}
	wantError(t, err, errs.Unavailable, "")
	s.wantAbsent(t, task.ID)
	if holders := using(t, task.Volume); len(holders) > 0 {
		t.Errorf("these still use the volume: %v", holders)
	}
}

// taskShown looks at a task that runs, and removes it as one is removed whose
// daemon has died.
func (s suite) taskShown(t *testing.T) {
	started := make(chan struct{})
	task := s.newTask(t, `echo started; sleep 1000 & wait`, func(string) { close(started) })
	done := make(chan error, 1)
	go func() { done <- s.rt.Run(t.Context(), task) }()
	select {
	case <-started:
	case err := <-done:
		t.Fatalf("Run: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("the task does not start")
	}
	if in, ok := listed(t, s.rt, task.ID); !ok || !in.Task || in.State != container.Running {
		t.Errorf("List says %+v, %v", in, ok)
	}
	if in := s.inspect(t, task.ID); !in.Task || in.State != container.Running {
		t.Errorf("Inspect says %+v", in)
	}
	// Its ID is taken.
	if err := s.rt.Run(t.Context(), task); !errs.Is(err, errs.Exists) {
		t.Errorf("Run of the same again: %v, want Exists", err)
	}
	spec := s.spec(t, untilKilled)
	spec.ID = task.ID
	if err := s.rt.Start(t.Context(), spec); !errs.Is(err, errs.Exists) {
		t.Errorf("Start with the ID of a task: %v, want Exists", err)
	}
	if err := s.rt.Remove(t.Context(), task.ID); err != nil {
		t.Errorf("Remove: %v", err)
	}
	if err := within(t, done); err == nil {
		t.Error("a task that was removed succeeded")
	}
	s.wantAbsent(t, task.ID)
}

// taskNetwork looks at the interfaces that a task has.
func (s suite) taskNetwork(t *testing.T) {
	interfaces := func(network container.Network) (names []string) {
		task := s.newTask(t, "cat /proc/net/dev", func(line string) {
			if name, _, ok := strings.Cut(line, ":"); ok {
				names = append(names, strings.TrimSpace(name))
			}
		})
		task.Network = network
		if err := s.rt.Run(t.Context(), task); err != nil {
			t.Fatalf("Run: %v", err)
		}
		return names
	}
	if s.NetworkNoneIsHost {
		t.Skip("the runtime can't keep tasks from the network here")
	}
	for _, name := range interfaces(container.NetworkNone) {
		// Tunnels' stubs appear in each network namespace, and lead nowhere.
		if name != "lo" && !slices.Contains([]string{"tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6tnl0", "ip6gre0"}, name) && !strings.HasPrefix(name, "ifb") {
			t.Errorf("a task without network has the interface %s", name)
		}
	}
	// And the loopback works: programs talk to themselves over it.
	s.runTask(t, `exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/1' 2>&1 | grep -q refused`, nil)
	host := interfaces(container.NetworkHost)
	if len(host) < 2 {
		t.Errorf("a task on the host's network has only %v", host)
	}
}
