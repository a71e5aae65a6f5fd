package containertest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// writers are a process and one that it has started, which both write.
const writers = `{ (while :; do echo x >> child; sleep 0.005; done) & while :; do echo x >> parent; sleep 0.005; done; }`

// freeze: nothing of a frozen instance writes; then it goes on.
func (s suite) freeze(t *testing.T) {
	spec := s.spec(t, writers)
	s.mustStart(t, spec)
	s.awaitGrowth(t, spec)
	for range 2 {
		for range 2 {
			if err := s.rt.Freeze(t.Context(), spec.ID); err != nil {
				t.Fatal("Freeze:", err)
			}
		}
		before := sizes(t, spec)
		if in := s.inspect(t, spec.ID); in.State != container.Frozen {
			t.Errorf("frozen: %+v", in)
		}
		if in := s.listed(t, spec.ID); in.State != container.Frozen {
			t.Errorf("frozen, in the list: %+v", in)
		}
		time.Sleep(200 * time.Millisecond) // in which it would have written some forty lines
		if after := sizes(t, spec); after != before {
			t.Errorf("frozen, and the files grew from %v to %v", before, after)
		}
		for range 2 {
			if err := s.rt.Thaw(t.Context(), spec.ID); err != nil {
				t.Fatal("Thaw:", err)
			}
		}
		if in := s.inspect(t, spec.ID); in.State != container.Running {
			t.Errorf("thawed: %+v", in)
		}
		s.awaitGrowth(t, spec)
	}
	// At whatever moment, such as in the middle of the start of a child.
	for range 50 {
		if err := errors.Join(s.rt.Freeze(t.Context(), spec.ID), s.rt.Thaw(t.Context(), spec.ID)); err != nil {
			t.Fatal(err)
		}
	}
	s.awaitGrowth(t, spec)
}

// freezeEnds: a frozen instance can be started, stopped and removed.
func (s suite) freezeEnds(t *testing.T) {
	frozen := func() container.Spec {
		spec := s.spec(t, writers)
		s.mustStart(t, spec)
		s.awaitGrowth(t, spec)
		if err := s.rt.Freeze(t.Context(), spec.ID); err != nil {
			t.Fatal("Freeze:", err)
		}
		return spec
	}
	spec := frozen()
	s.mustStart(t, spec)
	s.awaitGrowth(t, spec)
	spec = frozen()
	if err := s.rt.Stop(t.Context(), spec.ID, time.Second); err != nil {
		t.Error("Stop:", err)
	}
	s.awaitState(t, spec.ID, container.Exited)
	if err := s.rt.Freeze(t.Context(), spec.ID); !errs.Is(err, errs.Precondition) || errs.As(err).Reason != container.ReasonExited {
		t.Errorf("Freeze of one that has exited: %v", err)
	}
	if err := s.rt.Thaw(t.Context(), spec.ID); err != nil {
		t.Errorf("Thaw of one that has exited: %v", err)
	}
	spec = frozen()
	if err := s.rt.Remove(t.Context(), spec.ID); err != nil {
		t.Error("Remove:", err)
	}
	before := sizes(t, spec)
	time.Sleep(100 * time.Millisecond)
	if after := sizes(t, spec); after != before {
		t.Errorf("removed, and the files grew from %v to %v", before, after)
	}
	for what, call := range map[string]error{"Freeze": s.rt.Freeze(t.Context(), spec.ID), "Thaw": s.rt.Thaw(t.Context(), spec.ID)} {
		if !errs.Is(call, errs.NotFound) {
			t.Errorf("%s of one that is removed: %v", what, call)
		}
	}
}

// awaitGrowth waits until both of the writers have written.
func (s suite) awaitGrowth(t *testing.T, spec container.Spec) {
	t.Helper()
	before, deadline := sizes(t, spec), time.Now().Add(30*time.Second)
	for now := before; now[0] == before[0] || now[1] == before[1]; now = sizes(t, spec) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not write: %v", now)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (s suite) listed(t *testing.T, id string) container.Instance {
	t.Helper()
	list, err := s.rt.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range list {
		if in.ID == id {
			return in
		}
	}
	t.Fatal(fmt.Errorf("%s is not in the list", id))
	return container.Instance{}
}

// sizes are those of the files that the writers write; 0 for none.
func sizes(t *testing.T, spec container.Spec) (out [2]int64) {
	t.Helper()
	for i, name := range []string{"parent", "child"} {
		if info, err := os.Stat(filepath.Join(spec.Volume, name)); err == nil {
			out[i] = info.Size()
		}
	}
	return out
}
