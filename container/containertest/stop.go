package containertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

func (s suite) stop(t *testing.T) {
	for signal, name := range map[string]string{"SIGINT": "INT", "SIGTERM": "TERM", "SIGQUIT": "QUIT"} {
		spec := s.spec(t, `trap 'echo got it > signal; exit 3' `+name+`; touch ready; sleep 1000 & wait`)
		spec.StopSignal = signal
		s.mustStart(t, spec)
		awaitFile(t, spec.Volume, "ready")
		for range 2 {
			if err := s.rt.Stop(t.Context(), spec.ID, 30*time.Second); err != nil {
				t.Fatalf("Stop with %s: %v", signal, err)
			}
			if in := s.inspect(t, spec.ID); in.State != container.Exited || in.ExitCode != 3 {
				t.Errorf("after Stop with %s: %+v", signal, in)
			}
		}
		if got := read(t, spec.Volume, "signal"); got != "got it\n" {
			t.Errorf("the process did not get %s", signal)
		}
	}
}

func (s suite) stopKills(t *testing.T) {
	spec := s.spec(t, `trap '' TERM; echo going on; touch ready; while :; do sleep 1000 & wait; done`)
	s.mustStart(t, spec)
	awaitFile(t, spec.Volume, "ready")
	begin := time.Now()
	if err := s.rt.Stop(t.Context(), spec.ID, time.Second); err != nil {
		t.Fatalf("Stop: %v", err)
	}
	if took := time.Since(begin); took < time.Second || took > 5*time.Second {
		t.Errorf("stopped after %v, want one second", took)
	}
	if in := s.inspect(t, spec.ID); in.State != container.Exited || in.ExitCode != 137 {
		t.Errorf("%+v, want it killed", in)
	}
	if got := s.log(t, spec.ID, -1); got != "going on\n" {
		t.Errorf("its log: %q", got)
	}
}

func (s suite) remove(t *testing.T) {
	for what, spec := range map[string]container.Spec{"running": s.spec(t, untilKilled), "exited": s.spec(t, "exit 0")} {
		s.mustStart(t, spec)
		if what == "exited" {
			s.awaitState(t, spec.ID, container.Exited)
		}
		for range 2 {
			if err := s.rt.Remove(t.Context(), spec.ID); err != nil {
				t.Fatalf("Remove of a %s one: %v", what, err)
			}
			s.wantAbsent(t, spec.ID)
		}
		if _, err := os.Stat(spec.Volume); err != nil {
			t.Errorf("the volume: %v", err)
		}
	}
}

func (s suite) absent(t *testing.T) {
	id := s.newID(t)
	s.wantAbsent(t, id)
	if err := s.rt.Remove(t.Context(), id); err != nil {
		t.Errorf("Remove: %v", err)
	}
	wantError(t, s.rt.Stop(t.Context(), id, time.Second), errs.NotFound, "")
	wantError(t, s.rt.Logs(t.Context(), id, -1, false, new(strings.Builder)), errs.NotFound, "")
	wantError(t, s.rt.WaitReady(t.Context(), id, func(context.Context) error { return os.ErrDeadlineExceeded }), errs.NotFound, "")
}

// family checks that with an instance everything ends that it has started.
func (s suite) family(t *testing.T) {
	spec := s.spec(t, `( (while :; do echo x > beat; sleep 0.01; done) & ); `+untilKilled)
	s.mustStart(t, spec)
	awaitFile(t, spec.Volume, "beat")
	if err := s.rt.Remove(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	if holders := using(t, spec.Volume); len(holders) > 0 {
		t.Errorf("after Remove these still use the volume: %v", holders)
	}
}

// using lists the processes whose working directory is in the volume.
func using(t *testing.T, volume string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, link := range links {
		// A container sees the volume elsewhere, so it is compared by identity.
		info, err := os.Stat(link)
		if err != nil {
			continue // ended
		}
		if want, err := os.Stat(volume); err != nil {
			t.Fatal(err)
		} else if os.SameFile(info, want) {
			found = append(found, filepath.Dir(link))
		}
	}
	return found
}

// newDaemon closes the runtime and opens it again, as an upgrade does. The
// suite's own runtime, a third, is left out of it: there is one daemon at a time.
func (s suite) newDaemon(t *testing.T) {
	specs := make([]container.Spec, 3)
	first, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	for i := range specs {
		specs[i] = s.spec(t, fmt.Sprintf(`echo x >> starts; echo log of %d; touch up; %s`, i, untilKilled))
		if err := first.Start(t.Context(), specs[i]); err != nil {
			t.Fatal(err)
		}
		awaitFile(t, specs[i].Volume, "up")
	}
	before, err := first.Inspect(t.Context(), specs[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := open(t, s.Open)
	for i, spec := range specs {
		if in, ok := listed(t, second, spec.ID); !ok || in.State != container.Running {
			t.Errorf("List after reopening: %+v, %v", in, ok)
		}
		if err := second.Start(t.Context(), spec); err != nil {
			t.Errorf("Start after reopening: %v", err)
		}
		if got := read(t, spec.Volume, "starts"); got != "x\n" {
			t.Errorf("reopening started it again: %q", got)
		}
		var log strings.Builder
		if err := second.Logs(t.Context(), spec.ID, -1, false, &log); err != nil || log.String() != fmt.Sprintf("log of %d\n", i) {
			t.Errorf("log after reopening: %q, %v", log.String(), err)
		}
	}
	if after, err := second.Inspect(t.Context(), specs[0].ID); err != nil || !after.Started.Equal(before.Started) {
		t.Errorf("before %+v, after %+v, %v", before, after, err)
	}
	events := second.Events(t.Context())
	if err := second.Stop(t.Context(), specs[1].ID, 30*time.Second); err != nil {
		t.Errorf("Stop after reopening: %v", err)
	}
	awaitEvent(t, events, specs[1].ID)
	if in, err := second.Inspect(t.Context(), specs[1].ID); err != nil || in.State != container.Exited {
		t.Errorf("after Stop: %+v, %v", in, err)
	}
	for _, spec := range specs {
		if err := second.Remove(t.Context(), spec.ID); err != nil {
			t.Errorf("Remove after reopening: %v", err)
		}
		wantAbsent(t, second, spec.ID)
	}
}

// otherInstallation checks that two installations do not see each other.
func (s suite) otherInstallation(t *testing.T) {
	other := open(t, s.OpenOther)
	if err := other.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.Teardown(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("Teardown of the other: %v", err)
		}
	})
	spec := s.spec(t, `echo x >> starts; `+untilKilled)
	s.mustStart(t, spec)
	if in, ok := listed(t, other, spec.ID); ok {
		t.Errorf("the other lists %+v", in)
	}
	if _, err := other.Inspect(t.Context(), spec.ID); !errs.Is(err, errs.NotFound) {
		t.Errorf("the other's Inspect: %v", err)
	}
	if err := other.Remove(t.Context(), spec.ID); err != nil {
		t.Errorf("the other's Remove: %v", err)
	}
	if in := s.inspect(t, spec.ID); in.State != container.Running {
		t.Errorf("after the other's Remove: %+v", in)
	}
}
