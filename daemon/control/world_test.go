package control_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// TestPoolFullAtEachStep has the pool be full at each step of each operation that
// writes: it fails with what to do, clones and goldens that were there are as they
// were, nothing is left, and when there is room the same request succeeds.
func TestPoolFullAtEachStep(t *testing.T) {
	t.Parallel()
	full := errs.New(errs.Exhausted, storage.ReasonPoolFull, "no space left").WithHint("delete clones")
	for _, op := range []struct {
		name  string
		do    func(r *rig) error
		steps []string
	}{
		{"create", func(r *rig) error {
			_, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "new", Golden: "shop", Wait: true})
			return err
		}, []string{"driver.Clone", "runtime.Start", "runtime.WaitReady", "engine.Ready", "engine.Claim"}},
		{"reset", func(r *rig) error {
			_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true})
			return err
		}, []string{"driver.Clone", "runtime.Start", "engine.Ready", "engine.Claim"}},
		{"snapshot", func(r *rig) error {
			_, _, err := r.plane.SnapshotClone(r.ctx(), control.SnapshotRequest{Clone: "main", Name: "s"})
			return err
		}, []string{"driver.Snapshot"}},
		{"refresh", func(r *rig) error {
			_, err := r.plane.RefreshGolden(r.ctx(), "shop", nil)
			return err
		}, []string{"driver.Create", "engine.Fill", "runtime.Run", "engine.Prepare", "driver.Snapshot"}},
		{"golden", func(r *rig) error {
			_, _, err := r.plane.CreateGolden(r.ctx(), goldenRequest("other"), nil)
			return err
		}, []string{"driver.Create", "engine.Fill", "engine.Prepare", "driver.Snapshot"}},
	} {
		for _, step := range op.steps {
			t.Run(op.name+"/"+step, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, nil)
				r.golden("shop")
				c := r.create("main")
				r.write(c, "mine")
				r.atRest()
				before := r.world.Things()
				r.world.Fail(step, full)
				err := op.do(r)
				if e := errs.As(err); err == nil || e.Kind != errs.Exhausted && e.Kind != errs.Unavailable || e.Hint == "" && e.Kind == errs.Exhausted {
					t.Errorf("%v", err)
				}
				r.world.Fail(step, nil)
				r.eventuallyState("main", state.CloneReady)
				r.atRest()
				if now := r.get("main"); r.read(now) != "mine" {
					t.Errorf("main is %s and reads %q", now.State, r.read(now))
				}
				if after := r.world.Things(); strings.Join(after, "\n") != strings.Join(before, "\n") {
					t.Errorf("there was\n%v\nand is\n%v", before, after)
				}
				if err := op.do(r); err != nil {
					t.Errorf("with room: %v", err)
				}
				r.atRest()
			})
		}
	}
}

// TestProtectedSurvives: a protected clone stays, with its data, whatever is asked
// for and whatever happens, until its protection is taken away.
func TestProtectedSurvives(t *testing.T) {
	t.Parallel()
	r, k, passes := clockRig(t)
	first := r.golden("shop")
	c, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "main", Golden: "shop", TTL: time.Hour, Protect: true, Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	r.write(c, "mine")
	refused := func(kind errs.Kind, err error) error {
		if !errs.Is(err, kind) {
			return fmt.Errorf("not refused: %w", err)
		}
		return nil
	}
	away := errs.New(errs.Unavailable, "TEST", "away")
	for _, event := range []struct {
		name string
		do   func() error
	}{
		{"delete", func() error {
			return refused(errs.Precondition, r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Wait: true}))
		}},
		{"delete now", func() error {
			return refused(errs.Precondition, r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Now: true}))
		}},
		{"delete a selection", func() error {
			deleted, skipped, err := r.plane.DeleteClones(r.ctx(), control.CloneFilter{Golden: "shop"}, true)
			if len(deleted) != 0 || len(skipped) != 1 {
				return fmt.Errorf("deleted %v, skipped %v", deleted, skipped)
			}
			return err
		}},
		{"delete its golden", func() error { return refused(errs.Precondition, r.plane.DeleteGolden(r.ctx(), "shop")) }},
		{"refresh its golden and delete its snapshot", func() error {
			if _, err := r.plane.RefreshGolden(r.ctx(), "shop", nil); err != nil {
				return err
			}
			return r.plane.DeleteSnapshot(r.ctx(), first.ID)
		}},
		{"its time is over", func() error { k.pass(2 * time.Hour); return nil }},
		{"the clock is set", func() error { k.jump(10 * year); return nil }},
		{"its instance is removed", func() error { r.world.Take(instance(c), false); return nil }},
		{"its database crashes", func() error { r.world.Crash(instance(c), 1, true); return nil }},
		{"the daemon restarts", func() error { r.restart(); return nil }},
		{"the daemon dies", func() error { return r.die() }},
		{"the host restarts", func() error {
			r.stop()
			r.world.Restart()
			k.reboot(year)
			r.start()
			return nil
		}},
		{"the pool is full", func() error {
			r.world.SetFree(0)
			defer r.world.SetFree(1 << 40)
			passes(2)
			return nil
		}},
		{"nothing answers", func() error {
			for _, call := range []string{"driver.List", "driver.Stat", "driver.Space", "runtime.List", "runtime.Inspect"} {
				r.world.Fail(call, away)
				defer r.world.Fail(call, nil)
			}
			passes(2)
			return nil
		}},
	} {
		if err := event.do(); err != nil {
			t.Errorf("%s: %v", event.name, err)
		}
		passes(3)
		r.atRest()
		now := r.eventuallyState("main", state.CloneReady)
		if now.ID != c.ID || now.Generation != c.Generation || !now.Protect || r.read(now) != "mine" {
			t.Errorf("%s: it is %+v", event.name, now)
		}
	}
	off := false
	if _, err := r.plane.UpdateClone(r.ctx(), "main", control.CloneUpdate{Protect: &off}); err != nil {
		t.Fatal(err)
	}
	r.eventually("unprotected, its time is over", func() error {
		if _, err := r.plane.GetClone(r.ctx(), "main"); !errs.Is(err, errs.NotFound) {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})
}

// TestImageIsBack: a clone whose image was deleted is started when its name still
// stands for the very image; otherwise it says which one is missing.
func TestImageIsBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.golden("shop")
	r.create("before")
	missing := errs.New(errs.Precondition, container.ReasonImageMissing, "no such image")
	r.world.Fail("runtime.Start", missing)
	r.world.Fail("runtime.EnsureImage", missing)
	_, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "late", Golden: "shop", Wait: true})
	if e := errs.As(err); e.Reason != container.ReasonImageMissing || e.Phase != control.PhaseStart ||
		!strings.Contains(e.Error(), s.ImageID) || !strings.Contains(e.Hint, "refresh golden shop") {
		t.Errorf("create: %v (%s)", err, errs.As(err).Hint)
	}
	r.world.Fail("runtime.EnsureImage", nil)
	r.world.OnCall("runtime.EnsureImage", func() { r.world.Fail("runtime.Start", nil) }) // it is pulled
	r.create("late")
	r.atRest()
}
