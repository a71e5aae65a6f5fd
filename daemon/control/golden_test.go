package control_test

import (
	"context"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

func TestRefresh(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	first := r.golden("shop")
	r.create("old")
	var phases []string
	second, err := r.plane.RefreshGolden(r.ctx(), "shop", func(p control.Progress) {
		if n := len(phases); n == 0 || phases[n-1] != p.Phase {
			phases = append(phases, p.Phase)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(phases, " "); got != "probe fill prepare snapshot" {
		t.Errorf("phases %s", got)
	}
	if c := r.create("new"); c.Snapshot != second.ID || second.ID == first.ID {
		t.Errorf("the new clone is of %s", c.Snapshot)
	}
	if err := r.plane.DeleteSnapshot(r.ctx(), first.ID); err != nil {
		t.Fatal(err)
	}
	if list, _ := r.plane.ListSnapshots(r.ctx(), "shop"); len(list) != 1 {
		t.Errorf("there are %d snapshots", len(list))
	}
	// A hidden snapshot can be reset to as long as a clone of it lives.
	if c, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "old", Wait: true}); err != nil || c.Snapshot != first.ID {
		t.Errorf("reset to a hidden snapshot: %v", err)
	}
	if err := r.plane.DeleteSnapshot(r.ctx(), second.ID); !errs.Is(err, errs.Precondition) {
		t.Errorf("delete of the last snapshot: %v", err)
	}
	if c, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "old", Newest: true, Wait: true}); err != nil || c.Snapshot != second.ID {
		t.Errorf("reset to the newest: %v", err)
	}
	r.atRest() // the first snapshot is collected
	if err := r.plane.DeleteGolden(r.ctx(), "shop"); !errs.Is(err, errs.Precondition) || !strings.Contains(err.Error(), "old") {
		t.Errorf("delete of a golden with clones: %v", err)
	}
	if deleted, _, err := r.plane.DeleteClones(r.ctx(), control.CloneFilter{Golden: "shop"}, false); err != nil || len(deleted) != 2 {
		t.Errorf("delete: %v, %v", deleted, err)
	}
	if err := r.plane.DeleteGolden(r.ctx(), "shop"); err != nil {
		t.Fatal(err)
	}
	r.eventually("gone", func() error {
		if left := r.world.Things(); len(left) > 0 {
			return errs.New(errs.Internal, "TEST", "left %v", left)
		}
		return nil
	})
}

func TestInPlace(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.world.SetForeign("tank/replica", "live")
	src := state.GoldenSource{Kind: "inplace", Dataset: "tank/replica"}
	if _, _, err := r.plane.CreateGolden(r.ctx(), control.CreateGoldenRequest{Name: "shop", Source: src}, nil); err != nil {
		t.Fatal(err)
	}
	if c := r.create("main"); r.read(c) != "live, prepared" {
		t.Errorf("the clone reads %q", r.read(c))
	}
	r.atRest()
}

func TestCancelledRefreshLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ctx, cancel := context.WithCancel(r.ctx())
	_, _, err := r.plane.CreateGolden(ctx, goldenRequest("shop"), func(p control.Progress) {
		if p.Phase == control.PhasePrepare {
			cancel()
			r.world.Fail("engine.Prepare", ctx.Err())
		}
	})
	if err == nil {
		t.Fatal("it went through")
	}
	if left := r.world.Things(); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if _, _, err := r.plane.GetGolden(r.ctx(), "shop"); !errs.Is(err, errs.NotFound) {
		t.Errorf("the golden: %v", err)
	}
	r.world.Fail("engine.Prepare", nil)
	r.golden("shop")
}

func TestOneRefreshAtATime(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	tried := false
	_, err := r.plane.RefreshGolden(r.ctx(), "shop", func(p control.Progress) {
		if p.Phase != control.PhaseFill || tried {
			return
		}
		tried = true
		if _, err := r.plane.RefreshGolden(r.ctx(), "shop", nil); !errs.Is(err, errs.Conflict) {
			t.Errorf("a second refresh: %v", err)
		}
		if err := r.plane.DeleteGolden(r.ctx(), "shop"); !errs.Is(err, errs.Conflict) {
			t.Errorf("delete meanwhile: %v", err)
		}
		r.create("meanwhile") // of the snapshot that is there
	})
	if err != nil || !tried {
		t.Fatalf("refresh: %v, tried %v", err, tried)
	}
	r.atRest()
}

// TestFailedRefreshLeavesNothing fails each of its steps.
func TestFailedRefreshLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"engine.Probe", "runtime.EnsureImage", "engine.CheckImage", "driver.Create", "engine.Fill", "engine.Inspect", "engine.Prepare", "driver.Snapshot"} {
		r := newRig(t, nil)
		r.golden("shop")
		r.world.Fail(call, errs.New(errs.Exhausted, "TEST", "the pool is full"))
		for what, try := range map[string]func() error{
			"refresh": func() error { _, err := r.plane.RefreshGolden(r.ctx(), "shop", nil); return err },
			"create":  func() error { _, _, err := r.plane.CreateGolden(r.ctx(), goldenRequest("new"), nil); return err },
		} {
			if err := try(); !errs.Is(err, errs.Exhausted) || errs.As(err).Phase == "" {
				t.Errorf("%s with %s: %v in phase %q", what, call, err, errs.As(err).Phase)
			}
			if left := r.world.Things(); len(left) != 2 || len(r.plane.ListGoldens(r.ctx())) != 1 {
				t.Errorf("%s with %s: left %v", what, call, left)
			}
		}
		r.world.Fail(call, nil)
		r.golden("new")
		r.atRest()
	}
}
