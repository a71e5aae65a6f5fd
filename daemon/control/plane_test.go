package control_test

import (
	"context"
	"maps"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

func TestLifeOfAClone(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	r.world.Calls()
	c := r.create("main")
	if c.State != state.CloneReady || r.read(c) != "data of /shop, prepared" {
		t.Errorf("a new clone is %s and reads %q", c.State, r.read(c))
	}
	var phases []string
	for _, p := range c.Timings {
		phases = append(phases, p.Phase)
	}
	if got := strings.Join(phases, " "); got != "admit commit volume start ready claim" {
		t.Errorf("timings are of %s", got)
	}
	r.write(c, "mine")

	suspended, err := r.plane.SuspendClone(r.ctx(), "main")
	if err != nil || suspended.State != state.CloneSuspended {
		t.Fatalf("suspend: %v, %v", suspended.State, err)
	}
	r.atRest()
	resumed, err := r.plane.ResumeClone(r.ctx(), "main", false)
	if err != nil || resumed.Port != c.Port || r.read(resumed) != "mine" {
		t.Fatalf("resume: %+v, %v", resumed, err)
	}

	reset, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true})
	if err != nil || reset.Generation != 2 || reset.Port != c.Port || r.read(reset) != "data of /shop, prepared" {
		t.Fatalf("reset: %+v, %v", reset, err)
	}
	if err := r.plane.DeleteClone(r.ctx(), "main", true); err != nil {
		t.Fatal("delete:", err)
	}
	if _, err := r.plane.GetClone("main"); !errs.Is(err, errs.NotFound) {
		t.Errorf("get after delete: %v", err)
	}
	r.atRest()
}

// TestCreateCounts holds the way of a create to the outside steps that it needs.
func TestCreateCounts(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *control.Config) { c.ReconcileEvery = time.Hour })
	r.golden("shop")
	r.create("warm")
	r.world.Calls()
	r.create("main")
	want := map[string]int{"driver.Clone": 1, "runtime.Start": 1, "runtime.WaitReady": 1, "engine.Ready": 1, "engine.Claim": 1}
	if got := r.world.Calls(); !maps.Equal(got, want) {
		t.Errorf("a create makes the calls %v, want %v", got, want)
	}
}

func TestCreateIsIdempotent(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	first := r.create("main")
	again, created, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "main", Golden: "shop", Wait: true})
	if err != nil || created || again.ID != first.ID {
		t.Errorf("again: %v, created %v, %v", again.ID, created, err)
	}
	_, _, err = r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "main", Golden: "shop", Branch: "other", Wait: true})
	if !errs.Is(err, errs.Exists) {
		t.Errorf("another request under the name: %v", err)
	}
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"driver.Clone", "runtime.Start", "runtime.WaitReady", "engine.Claim"} {
		r := newRig(t, nil)
		r.golden("shop")
		r.world.Fail(call, errs.New(errs.Unavailable, "TEST", "no"))
		_, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "main", Golden: "shop", Wait: true})
		e := errs.As(err)
		if err == nil || e.Phase == "" || !e.Retryable {
			t.Errorf("%s: error %v, phase %q, retryable %v", call, err, e.Phase, e.Retryable)
		}
		if n := len(r.world.Things()); n != 2 {
			t.Errorf("%s: left %v", call, r.world.Things())
		}

		// Without waiting, the record tells, and the next create replaces it.
		if _, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "main", Golden: "shop"}); err != nil {
			t.Fatal(err)
		}
		if c := r.eventuallyState("main", state.CloneFailed); c.Message == "" {
			t.Errorf("%s: a failed clone has no message", call)
		}
		r.atRest()
		r.world.Fail(call, nil)
		r.create("main")
		r.atRest()
	}
}

func TestFailedResetChangesNothing(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"driver.Clone", "runtime.Stop", "engine.Claim"} {
		r := newRig(t, nil)
		r.golden("shop")
		c := r.create("main")
		r.write(c, "mine")
		r.world.Fail(call, errs.New(errs.Unavailable, "TEST", "no"))
		_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true})
		if err == nil || errs.As(err).Phase == "" {
			t.Errorf("%s: error %v without phase", call, err)
		}
		r.world.Fail(call, nil)
		now := r.eventuallyState("main", state.CloneReady)
		if now.Generation != 1 || now.Port != c.Port || r.read(now) != "mine" {
			t.Errorf("%s: the clone is now %+v", call, now)
		}
		r.atRest()
		if again, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true}); err != nil || again.Generation != 3 {
			t.Errorf("%s: reset again: generation %d, %v", call, again.Generation, err)
		}
	}
}

func TestResetOfASuspendedClone(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	c := r.create("main")
	r.write(c, "mine")
	if _, err := r.plane.SuspendClone(r.ctx(), "main"); err != nil {
		t.Fatal(err)
	}
	c, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true})
	if err != nil || c.State != state.CloneSuspended || c.Generation != 2 {
		t.Fatalf("reset: %s, generation %d, %v", c.State, c.Generation, err)
	}
	r.atRest()
	if c, err = r.plane.ResumeClone(r.ctx(), "main", false); err != nil || r.read(c) != "data of /shop, prepared" {
		t.Fatalf("resume: %v", err)
	}
}

func TestDeleteDuringCreate(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	r.world.Fail("engine.Ready", errs.New(errs.Unavailable, "TEST", "never"))
	result := make(chan error, 1)
	ctx := r.ctx()
	go func() {
		_, _, err := r.plane.CreateClone(ctx, control.CreateRequest{Name: "main", Golden: "shop", Wait: true})
		result <- err
	}()
	r.eventuallyState("main", state.CloneCreating)
	if err := r.plane.DeleteClone(r.ctx(), "main", true); err != nil {
		t.Fatal(err)
	}
	if err := <-result; !errs.Is(err, errs.NotFound) {
		t.Errorf("the create returned %v", err)
	}
	r.atRest()
}

func TestCrash(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *control.Config) { c.ReconcileEvery = time.Hour }) // by the event alone
	r.golden("shop")
	c := r.create("main")
	r.write(c, "mine")
	r.world.Crash(instance(c), 137, true)
	r.eventually("restarted", func() error {
		if c = r.get("main"); c.Restarts != 1 || c.State != state.CloneReady {
			return errInjected
		}
		return nil
	})
	if c.OOMKills != 1 || r.read(c) != "mine" {
		t.Errorf("after the crash: %+v", c)
	}
	// The second crash in a row waits a second.
	r.world.Crash(instance(c), 1, false)
	c = r.eventuallyState("main", state.CloneCrashed)
	if wait := time.Until(c.NextRestart); wait <= 0 || wait > time.Second || !strings.Contains(c.Message, "exit code 1") {
		t.Errorf("the second restart is due in %v: %s", wait, c.Message)
	}
	r.eventuallyState("main", state.CloneReady)
}

func TestHostRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	a, b := r.create("a"), r.create("b")
	r.write(a, "A")
	if _, err := r.plane.SuspendClone(r.ctx(), "b"); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.world.Restart()
	r.start()
	r.eventually("noticed", func() error {
		if r.get("a").Restarts != 1 {
			return errInjected
		}
		return nil
	})
	r.eventuallyState("a", state.CloneReady)
	r.atRest()
	if now := r.get("a"); now.Port != a.Port || r.read(now) != "A" {
		t.Errorf("a is now %+v", now)
	}
	if r.get("b").State != state.CloneSuspended {
		t.Errorf("b, which was %s, is %s", b.State, r.get("b").State)
	}
}

func TestVanishedVolume(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	c := r.create("main")
	r.world.Take(instance(c), true)
	c = r.eventuallyState("main", state.CloneFailed)
	if !strings.Contains(c.Message, "vanished") {
		t.Errorf("message %q", c.Message)
	}
	if _, err := r.plane.ResumeClone(r.ctx(), "main", false); !errs.Is(err, errs.Corrupt) {
		t.Errorf("resume: %v", err)
	}
	if c, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true}); err != nil || c.State != state.CloneReady {
		t.Errorf("reset: %s, %v", c.State, err)
	}
	r.atRest()
}

func TestFailedListDoesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	c := r.create("main")
	for _, call := range []string{"driver.List", "runtime.List", "driver.Stat", "runtime.Inspect"} {
		r.world.Fail(call, errs.New(errs.Unavailable, "TEST", "away"))
	}
	r.eventually("degraded", func() error {
		if len(r.plane.Status(r.ctx()).Degraded) == 0 {
			return errInjected
		}
		return nil
	})
	if now := r.get("main"); now.State != state.CloneReady || r.read(c) == "" {
		t.Errorf("the clone is %s: %s", now.State, now.Message)
	}
	for _, call := range []string{"driver.List", "runtime.List", "driver.Stat", "runtime.Inspect"} {
		r.world.Fail(call, nil)
	}
	r.eventually("mended", func() error {
		if d := r.plane.Status(r.ctx()).Degraded; len(d) > 0 {
			return errs.New(errs.Internal, "TEST", "%v", d)
		}
		return nil
	})
}

func TestSweep(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	c := r.create("main")
	r.world.Plant("c-aaaaaaaaaa-1")
	r.atRest() // it is swept
	// A generation newer than the record knows is evidence of an old state.
	newer := "c-" + c.ID + "-9"
	r.world.Plant(newer)
	r.eventually("named", func() error {
		for _, d := range r.plane.Status(r.ctx()).Degraded {
			if strings.Contains(d, newer) {
				return nil
			}
		}
		return errInjected
	})
	if !strings.Contains(strings.Join(r.world.Things(), " "), newer) {
		t.Error("it was swept")
	}
	// Too many at once are not swept.
	for _, id := range strings.Fields("aaaaaaaaaa bbbbbbbbbb cccccccccc dddddddddd eeeeeeeeee ffffffffff") {
		r.world.Plant("c-" + id + "-1")
	}
	r.eventually("alarm", func() error {
		for _, d := range r.plane.Status(r.ctx()).Degraded {
			if strings.Contains(d, "6 orphans") {
				return nil
			}
		}
		return errInjected
	})
	if got := len(r.world.Things()); got != 2+2+1+6 {
		t.Errorf("%d things are left: %v", got, r.world.Things())
	}
}

func TestEmptyStateIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	r.create("main")
	before := r.world.Things()
	r.stop()
	r.path += ".new"
	r.open()
	if err := r.plane.Run(r.ctx()); !errs.Is(err, errs.Precondition) || errs.As(err).Reason != "STATE_MISSING" {
		t.Fatalf("run: %v", err)
	}
	if _, _, err := r.plane.CreateGolden(r.ctx(), goldenRequest("new"), nil); err == nil {
		t.Error("a golden could be made meanwhile")
	}
	if got := r.world.Things(); len(got) != len(before) {
		t.Errorf("left is %v", got)
	}
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	r.path = strings.TrimSuffix(r.path, ".new")
	r.start()
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	first := r.golden("shop")
	old := r.create("old")
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
	if list, _ := r.plane.ListSnapshots("shop"); len(list) != 1 {
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
	if deleted, _, err := r.plane.DeleteClones(r.ctx(), control.CloneFilter{Golden: "shop"}); err != nil || len(deleted) != 2 {
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
	_ = old
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
			r.world.Fail("engine.Prepare", ctx.Err())
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
	if _, _, err := r.plane.GetGolden("shop"); !errs.Is(err, errs.NotFound) {
		t.Errorf("the golden: %v", err)
	}
	r.world.Fail("engine.Prepare", nil)
	r.golden("shop")
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *control.Config) { c.ReconcileEvery = time.Hour })
	r.golden("shop")
	for _, name := range []string{"short", "kept"} {
		req := control.CreateRequest{Name: name, Golden: "shop", TTL: 300 * time.Millisecond, Protect: name == "kept", Wait: true}
		if _, _, err := r.plane.CreateClone(r.ctx(), req); err != nil {
			t.Fatal(err)
		}
	}
	r.eventually("expired", func() error {
		if _, err := r.plane.GetClone("short"); errs.Is(err, errs.NotFound) {
			return nil
		}
		return errInjected
	})
	if r.get("kept").State != state.CloneReady {
		t.Error("a protected clone expired")
	}
	off := false
	if _, err := r.plane.UpdateClone(r.ctx(), "kept", control.CloneUpdate{Protect: &off}); err != nil {
		t.Fatal(err)
	}
	r.eventually("its time is over, and it is no longer protected", func() error {
		if _, err := r.plane.GetClone("kept"); errs.Is(err, errs.NotFound) {
			return nil
		}
		return errInjected
	})
}

// TestRunEndsItsGoroutines looks for goroutines of this package by their stacks.
func TestRunEndsItsGoroutines(t *testing.T) {
	r := newRig(t, nil)
	r.golden("shop")
	r.create("main")
	if _, _, err := r.plane.Watch(context.Background(), 0, control.CloneFilter{}); err != nil {
		t.Fatal(err)
	}
	r.stop()
	buf := make([]byte, 1<<20)
	for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "control.(*") && !strings.Contains(g, "testing.tRunner") {
			t.Errorf("still there:\n%s", g)
		}
	}
}
