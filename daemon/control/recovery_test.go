package control_test

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

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

// TestReadsDuringFirstPass: while the first pass still looks at what is there,
// reads are answered, and what changes the world waits.
func TestReadsDuringFirstPass(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	made := r.create("main")
	r.stop()
	looking, look := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.world.OnCall("driver.List", func() { once.Do(func() { close(looking); <-look }) })
	r.start()
	<-looking
	if c := r.get("main"); c.ID != made.ID || r.read(c) == "" {
		t.Errorf("it is %+v", c)
	}
	if list, _, err := r.plane.ListClones(r.ctx(), control.CloneFilter{}, 0, ""); err != nil || len(list) != 1 {
		t.Errorf("list: %d clones, %v", len(list), err)
	}
	if s := r.plane.Status(r.ctx()); !s.LastReconcile.IsZero() {
		t.Errorf("a pass was over at %v", s.LastReconcile)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err := r.plane.CreateClone(ctx, control.CreateRequest{Name: "new", Golden: "shop"})
	if errs.As(err).Reason != "STARTING" {
		t.Errorf("create: %v", err)
	}
	close(look)
	r.atRest()
}
