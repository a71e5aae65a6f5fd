package control_test

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/daemon/control/controltest"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
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
	if err := r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Wait: true}); err != nil {
		t.Fatal("delete:", err)
	}
	if _, err := r.plane.GetClone(r.ctx(), "main"); !errs.Is(err, errs.NotFound) {
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
	if err := r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Wait: true}); err != nil {
		t.Fatal(err)
	}
	if err := <-result; !errs.Is(err, errs.NotFound) {
		t.Errorf("the create returned %v", err)
	}
	r.atRest()
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	told := make(chan string, 2)
	r := newRig(t, func(c *control.Config) {
		c.ReconcileEvery = time.Hour
		c.Expired = func(c state.Clone) error { told <- c.Name; return nil }
	})
	r.golden("shop")
	for _, name := range []string{"short", "kept"} {
		req := control.CreateRequest{Name: name, Golden: "shop", TTL: 300 * time.Millisecond, Protect: name == "kept", Wait: true}
		if _, _, err := r.plane.CreateClone(r.ctx(), req); err != nil {
			t.Fatal(err)
		}
	}
	r.eventually("expired", func() error {
		if _, err := r.plane.GetClone(r.ctx(), "short"); errs.Is(err, errs.NotFound) {
			return nil
		}
		return errInjected
	})
	if r.get("kept").State != state.CloneReady {
		t.Error("a protected clone expired")
	}
	if name := <-told; name != "short" {
		t.Errorf("%s is said to have expired", name)
	}
	off := false
	if _, err := r.plane.UpdateClone(r.ctx(), "kept", control.CloneUpdate{Protect: &off}); err != nil {
		t.Fatal(err)
	}
	r.eventually("its time is over, and it is no longer protected", func() error {
		if _, err := r.plane.GetClone(r.ctx(), "kept"); errs.Is(err, errs.NotFound) {
			return nil
		}
		return errInjected
	})
}

// TestClientGoesAway: what a client has asked for is done without it.
func TestClientGoesAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	r.world.Fail("engine.Ready", errs.New(errs.Unavailable, "TEST", "not yet"))
	ctx, cancel := context.WithCancel(r.ctx())
	result := make(chan error, 1)
	go func() {
		_, _, err := r.plane.CreateClone(ctx, control.CreateRequest{Name: "main", Golden: "shop", Wait: true})
		result <- err
	}()
	r.eventuallyState("main", state.CloneCreating)
	cancel()
	if err := <-result; !errs.Is(err, errs.Unavailable) {
		t.Errorf("the client is told %v", err)
	}
	r.world.Fail("engine.Ready", nil)
	r.eventuallyState("main", state.CloneReady)
	r.atRest()
}

// TestDeleteWithDescendants: a clone that others descend from is gone for users
// at once, and its volume is collected when the last descendant has gone.
func TestDeleteWithDescendants(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	c := r.create("main")
	d := controltest.Driver{Session: r.session}
	if _, err := r.plane.SuspendClone(r.ctx(), "main"); err != nil {
		t.Fatal(err)
	}
	child, err := d.Snapshot(t.Context(), storage.Own(instance(c)), "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Wait: true}); err != nil {
		t.Fatal("delete:", err)
	}
	if _, err := r.plane.GetClone(r.ctx(), "main"); !errs.Is(err, errs.NotFound) {
		t.Errorf("get: %v", err)
	}
	if free := r.plane.Status(r.ctx()).PortsFree; free != 500 {
		t.Errorf("%d ports are free", free)
	}
	r.create("main") // the name is free
	if things := strings.Join(r.world.Things(), " "); !strings.Contains(things, "volume "+instance(c)) {
		t.Errorf("the volume is gone: %s", things)
	}
	if err := d.DestroySnapshot(t.Context(), child.Ref); err != nil {
		t.Fatal(err)
	}
	r.atRest()
}
