package control_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

func keeping(c *control.Config) { c.KeepFor = time.Hour }

// undoCases are the operations that keep what they replace, and those that bring
// it back.
func undoCases(clone func(*rig)) []crashCase {
	kept := func(r *rig) {
		r.tune = keeping
		r.restart()
		clone(r)
	}
	reset := func(r *rig, req control.ResetRequest) error {
		req.Name, req.Wait = "main", true
		_, err := r.plane.ResetClone(r.ctx(), req)
		return err
	}
	wasReset := func(r *rig) {
		kept(r)
		r.must(reset(r, control.ResetRequest{}))
	}
	undo := func(r *rig) error {
		_, err := r.plane.UndoClone(r.ctx(), "main", 1)
		return err
	}
	drop := func(now bool) func(*rig) error {
		return func(r *rig) error {
			return unless(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Now: now, Wait: true}), errs.NotFound)
		}
	}
	reads := func(want string) func(*rig) error {
		return func(r *rig) error {
			c, err := r.plane.GetClone(r.ctx(), "main")
			if err == nil && r.read(c) != want {
				err = fmt.Errorf("it reads %q", r.read(c))
			}
			return err
		}
	}
	volumes := func(want int) func(*rig) error {
		return func(r *rig) error {
			if _, err := r.plane.GetClone(r.ctx(), "main"); !errs.Is(err, errs.NotFound) {
				return fmt.Errorf("get: %w", err)
			}
			n := 0
			for _, thing := range r.world.Things() {
				if strings.HasPrefix(thing, "volume c-") {
					n++
				}
			}
			if n != want+1 { // and the bystander's
				return fmt.Errorf("there are %d volumes of clones", n)
			}
			return nil
		}
	}
	fresh := "data of /shop, prepared"
	return []crashCase{
		{"reset that is kept", kept, func(r *rig) error { return reset(r, control.ResetRequest{}) }, reads(fresh)},
		{"undo of a reset", wasReset, undo, reads("mine")},
		{"undo that fails", func(r *rig) {
			wasReset(r)
			r.world.Fail("engine.Claim", errs.New(errs.Unavailable, "TEST", "no"))
		}, func(r *rig) error {
			if err := undo(r); err == nil {
				return fmt.Errorf("the undo did not fail")
			}
			return nil
		}, reads(fresh)},
		{"delete that is kept", kept, drop(false), volumes(1)},
		{"delete for good", wasReset, drop(true), volumes(0)},
		{"undo of a delete", func(r *rig) {
			kept(r)
			r.must(drop(false)(r))
		}, undo, reads("mine")},
		{"take over another's state", func(r *rig) {
			kept(r)
			r.write(r.create("other"), "theirs")
		}, func(r *rig) error { return reset(r, control.ResetRequest{Clone: "other"}) }, reads("theirs")},
		{"delete what took over the state of its own fork", func(r *rig) {
			clone(r)
			_, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "other", From: "main", Wait: true})
			r.must(err)
			r.must(reset(r, control.ResetRequest{Clone: "other"}))
			r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "other", Wait: true}))
		}, drop(true), volumes(0)},
		{"publish a clone", clone, func(r *rig) error {
			_, _, err := r.plane.CreateGolden(r.ctx(), publishRequest("new", ""), nil)
			return unless(err, errs.Exists)
		}, func(r *rig) error {
			list, err := r.plane.ListSnapshots(r.ctx(), "new")
			if err == nil && len(list) != 1 {
				err = fmt.Errorf("%d snapshots", len(list))
			}
			return err
		}},
	}
}

func publishRequest(name, snapshot string) control.CreateGoldenRequest {
	return control.CreateGoldenRequest{Name: name, Source: state.GoldenSource{Kind: "clone", Clone: "main", Snapshot: snapshot}}
}

// TestUndo goes to and fro, and holds what stays of the clone as it was.
func TestUndo(t *testing.T) {
	t.Parallel()
	r := newRig(t, keeping)
	r.golden("shop")
	c := r.create("main")
	r.write(c, "one")
	before := r.plane.Endpoint(r.ctx(), c)
	reset := func() {
		t.Helper()
		_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true})
		r.must(err)
	}
	undo := func(generation int64, want string) {
		t.Helper()
		c, err := r.plane.UndoClone(r.ctx(), "main", generation)
		r.must(err)
		if r.read(c) != want || r.plane.Endpoint(r.ctx(), c) != before || c.State != state.CloneReady {
			t.Errorf("after undo %d it reads %q and is %+v", generation, r.read(c), c)
		}
		r.atRest()
	}
	reset()
	r.atRest()
	r.write(r.get("main"), "two")
	undo(0, "one")
	undo(0, "two") // the undo is undone
	reset()
	undo(1, "one")
	if n := len(r.get("main").Kept); n != 2 {
		t.Errorf("%d generations are kept", n)
	}
	// Now: nothing is kept of what is replaced.
	_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Now: true, Wait: true})
	r.must(err)
	r.atRest()
	if c := r.get("main"); c.IsKept(1) || len(c.Kept) != 2 {
		t.Errorf("kept: %+v", c.Kept)
	}
	// Suspended, it is brought back suspended.
	_, err = r.plane.SuspendClone(r.ctx(), "main")
	r.must(err)
	if c, err := r.plane.UndoClone(r.ctx(), "main", 2); err != nil || c.State != state.CloneSuspended {
		t.Errorf("undo of a suspended clone: %+v, %v", c, err)
	}
	r.atRest()
}

// TestUndoDelete: a deleted clone frees its name and port at once, and comes back
// whole: with its labels, snapshots and state, and with a lease.
func TestUndoDelete(t *testing.T) {
	t.Parallel()
	r := newRig(t, keeping)
	r.golden("shop")
	c, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{
		Name: "main", Golden: "shop", Labels: map[string]string{"a": "b"}, TTL: 3 * time.Second, Wait: true,
	})
	r.must(err)
	r.write(c, "mine")
	taken := r.snapshot("main", "v1")
	drop := func(now bool) {
		t.Helper()
		r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Now: now, Wait: true}))
		r.atRest()
	}
	drop(false)
	if list := r.plane.DeletedClones(r.ctx(), control.CloneFilter{Golden: "shop"}); len(list) != 1 || list[0].ID != c.ID {
		t.Errorf("deleted: %+v", list)
	}
	r.restart()
	other := r.create("main") // takes the name, and the first free port
	if other.Port != c.Port {
		t.Errorf("port %d was not freed: %d is taken", c.Port, other.Port)
	}
	if _, err := r.plane.UndoClone(r.ctx(), "main", 0); errs.As(err).Reason != "NAME_TAKEN" {
		t.Errorf("undo while another has the name: %v", err)
	}
	drop(true)
	_, _, err = r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "bystander", Golden: "shop", Port: c.Port, Wait: true})
	r.must(err)
	back, err := r.plane.UndoClone(r.ctx(), "main", 0)
	r.must(err)
	if back.ID != c.ID || r.read(back) != "mine" || back.Labels["a"] != "b" || back.Port == c.Port {
		t.Errorf("it came back as %+v", back)
	}
	if left := time.Until(back.Expires); left < 50*time.Minute || left > time.Hour {
		t.Errorf("it expires in %v", left)
	}
	r.atRest()
	if c, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Snapshot: taken.Name, Wait: true}); err != nil || r.read(c) != "mine" {
		t.Errorf("reset to its snapshot: %v", err)
	}
	// A second life ends for good: with the golden, nothing is left at all.
	drop(false)
	drop(true) // what is kept is forgotten
	if list := r.plane.DeletedClones(r.ctx(), control.CloneFilter{}); len(list) != 0 {
		t.Errorf("deleted: %+v", list)
	}
	if err := r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Now: true}); !errs.Is(err, errs.NotFound) {
		t.Errorf("forgetting it again: %v", err)
	}
	r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "bystander", Wait: true}))
	r.must(r.plane.DeleteGolden(r.ctx(), "shop"))
	r.eventually("all gone", func() error {
		if things := r.world.Things(); len(things) > 0 {
			return fmt.Errorf("left: %v", things)
		}
		return nil
	})
}

// TestKeptExpires: what is kept goes when its time is over, and what takes too
// much goes before, the oldest first, and all of it before a create is refused.
func TestKeptExpires(t *testing.T) {
	t.Parallel()
	t.Run("time", func(t *testing.T) {
		r := newRig(t, func(c *control.Config) { c.KeepFor = 300 * time.Millisecond })
		r.golden("shop")
		r.create("main")
		_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true})
		r.must(err)
		r.create("other")
		r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "other", Wait: true}))
		r.eventually("forgotten", func() error {
			if c := r.get("main"); len(c.Kept)+len(c.Trash)+len(r.plane.DeletedClones(r.ctx(), control.CloneFilter{})) > 0 {
				return errInjected
			}
			return nil
		})
		r.atRest()
		if _, err := r.plane.UndoClone(r.ctx(), "main", 0); errs.As(err).Reason != "NOTHING_TO_UNDO" {
			t.Errorf("undo: %v", err)
		}
		if _, err := r.plane.UndoClone(r.ctx(), "other", 0); !errs.Is(err, errs.NotFound) {
			t.Errorf("undo of what is gone: %v", err)
		}
	})
	t.Run("space", func(t *testing.T) {
		r := newRig(t, func(c *control.Config) { c.KeepFor, c.FloorBytes = time.Hour, 100 })
		r.golden("shop")
		for _, name := range []string{"a", "b", "c"} {
			r.create(name)
			r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: name, Wait: true}))
		}
		r.atRest()
		r.world.SetFree(99)
		r.rest()
		_, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "main", Golden: "shop", Wait: true})
		if !errs.Is(err, errs.Exhausted) {
			t.Errorf("create: %v", err)
		}
		if list := r.plane.DeletedClones(r.ctx(), control.CloneFilter{}); len(list) != 0 {
			t.Errorf("still kept: %+v", list)
		}
		r.atRest()
	})
	t.Run("space that one of them frees", func(t *testing.T) {
		r := newRig(t, func(c *control.Config) { c.KeepFor, c.FloorBytes = time.Hour, 100 })
		r.golden("shop")
		r.keep("a", "b", "c")
		r.world.SetFree(99)
		r.world.OnCall("driver.Destroy", func() { r.world.SetFree(100) })
		r.rest() // the pool's new state is seen
		r.create("main")
		// A pass gives up the oldest, and so may the create, but not all.
		r.eventually("the oldest is given up", func() error {
			var kept []string
			for _, c := range r.plane.DeletedClones(r.ctx(), control.CloneFilter{}) {
				kept = append(kept, c.Name)
			}
			if slices.Contains(kept, "a") || !slices.Contains(kept, "c") {
				return fmt.Errorf("kept: %v", kept)
			}
			return nil
		})
		r.atRest()
	})
	t.Run("budget", func(t *testing.T) {
		// Each takes ten bytes, and a later look finds what is there too much.
		r := newRig(t, func(c *control.Config) { c.KeepFor = time.Hour })
		r.golden("shop")
		r.keep("a", "b")
		c := r.create("main")
		r.write(c, "ten  bytes")
		_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true})
		r.must(err)
		r.atRest()
		r.tune = func(c *control.Config) { c.KeepFor, c.KeepBytes = time.Hour, 29 }
		r.restart()
		r.eventually("the oldest is forgotten", func() error {
			if kept := r.plane.KeptBytes(); kept != 20 {
				return fmt.Errorf("what is kept takes %d bytes", kept)
			}
			return nil
		})
		r.stillKept("b")
		if c := r.get("main"); !c.IsKept(1) {
			t.Errorf("what was kept last is forgotten: %+v", c.Kept)
		}
		r.atRest()
	})
}

// keep makes clones of ten bytes and deletes them, one after the other.
func (r *rig) keep(names ...string) {
	r.t.Helper()
	for _, name := range names {
		r.write(r.create(name), "ten  bytes")
		r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: name, Wait: true}))
	}
	r.atRest()
}

// stillKept holds which deleted clones can be brought back.
func (r *rig) stillKept(want ...string) {
	r.t.Helper()
	var have []string
	for _, c := range r.plane.DeletedClones(r.ctx(), control.CloneFilter{}) {
		have = append(have, c.Name)
	}
	slices.Sort(have)
	if !slices.Equal(have, want) {
		r.t.Errorf("kept: %v, want %v", have, want)
	}
}

// TestKeptExpired: what expires is kept only if that was asked for.
func TestKeptExpired(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		r := newRig(t, func(c *control.Config) { c.KeepFor, c.KeepExpired = time.Hour, keep })
		r.golden("shop")
		_, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "main", Golden: "shop", TTL: 200 * time.Millisecond, Wait: true})
		r.must(err)
		r.eventually("expired", func() error {
			if _, err := r.plane.GetClone(r.ctx(), "main"); err == nil {
				return errInjected
			}
			return nil
		})
		r.atRest()
		if n := len(r.plane.DeletedClones(r.ctx(), control.CloneFilter{})); (n == 1) != keep {
			t.Errorf("keep %v: %d are kept", keep, n)
		}
	}
}

// TestPublish: a golden made from a clone has the clone's data, lives without it,
// and is refreshed from it while it is there.
func TestPublish(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	r.write(r.create("main"), "curated")
	r.snapshot("main", "v1")
	r.write(r.get("main"), "later")
	read := func(golden string) string {
		t.Helper()
		c, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "probe", Golden: golden, Wait: true})
		r.must(err)
		defer func() { r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "probe", Wait: true})) }()
		return r.read(c)
	}
	for name, test := range map[string]struct{ snapshot, want string }{"new": {"", "later"}, "old": {"v1", "curated"}} {
		_, _, err := r.plane.CreateGolden(r.ctx(), publishRequest(name, test.snapshot), nil)
		r.must(err)
		if got := read(name); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s reads %q", name, got)
		}
	}
	r.write(r.get("main"), "last")
	_, err := r.plane.RefreshGolden(r.ctx(), "new", nil)
	r.must(err)
	if got := read("new"); !strings.HasPrefix(got, "last") {
		t.Errorf("refreshed it reads %q", got)
	}
	r.atRest()
	r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Wait: true}))
	r.atRest()
	if got := read("old"); !strings.HasPrefix(got, "curated") {
		t.Errorf("without the clone it reads %q", got)
	}
	if _, err := r.plane.RefreshGolden(r.ctx(), "new", nil); !errs.Is(err, errs.NotFound) {
		t.Errorf("refresh without the clone: %v", err)
	}
	for _, name := range []string{"new", "old"} {
		r.must(r.plane.DeleteGolden(r.ctx(), name))
	}
	r.eventually("gone with what they descend from", func() error {
		if things := r.world.Things(); len(things) != 2 {
			return fmt.Errorf("left: %v", things)
		}
		return nil
	})
	for what, req := range map[string]control.CreateGoldenRequest{
		"no clone": publishRequest("x", ""), "no name": {Name: "x", Source: state.GoldenSource{Kind: "clone"}},
	} {
		if _, _, err := r.plane.CreateGolden(r.ctx(), req, nil); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// TestHold: a held clone lives while somebody holds it, over a restart of the
// daemon too, and goes a while after.
func TestHold(t *testing.T) {
	t.Parallel()
	offset := make(chan time.Duration, 1)
	offset <- 0
	began := time.Now()
	r := newRig(t, func(c *control.Config) {
		c.Now = func() time.Time {
			by := <-offset
			offset <- by
			return time.Now().Add(by)
		}
		c.Clock.Since = func() time.Duration { return c.Now().Sub(began) }
	})
	later := func(by time.Duration) { <-offset; offset <- by }
	r.golden("shop")
	_, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "main", Golden: "shop", Held: true, Wait: true})
	r.must(err)
	r.create("other")
	hold := func() (stop func()) {
		t.Helper()
		ctx, cancel := context.WithCancel(r.ctx())
		began, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			ended <- r.plane.HoldClone(ctx, "main", func() error { close(began); return nil })
		}()
		<-began
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("hold: %v", err)
			}
		}
	}
	one, two := hold(), hold()
	later(time.Hour)
	r.rest()
	one()
	r.rest()
	if c := r.get("main"); !r.plane.IsHeld(c.ID) {
		t.Error("one of two holders gone, and it is not held")
	}
	two()
	if c := r.get("main"); r.plane.IsHeld(c.ID) || c.Expires.IsZero() {
		t.Errorf("without holders: %+v", c)
	}
	// Its holder has until then to come back, a restart of the daemon later too.
	r.restart()
	later(time.Hour + control.HoldGrace/2)
	r.rest()
	three := hold()
	later(3 * time.Hour)
	r.rest()
	r.get("main")
	three()
	by := 3 * time.Hour
	r.eventually("expired", func() error {
		by += control.HoldGrace / 100 // time goes on
		later(by)
		if _, err := r.plane.GetClone(r.ctx(), "main"); err == nil {
			return errInjected
		}
		return nil
	})
	r.atRest()
	if err := r.plane.HoldClone(r.ctx(), "other", nil); errs.As(err).Reason != "NOT_HELD" {
		t.Errorf("hold of a clone with another lease: %v", err)
	}
	if err := r.plane.HoldClone(r.ctx(), "main", nil); !errs.Is(err, errs.NotFound) {
		t.Errorf("hold of nothing: %v", err)
	}
	_, _, err = r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "x", Golden: "shop", Held: true, TTL: time.Hour})
	if !errs.Is(err, errs.Invalid) {
		t.Errorf("two leases: %v", err)
	}
}

// TestTakeOver: what a clone takes over is another's of its golden, and nothing
// changes when that fails.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, keeping)
	r.golden("shop")
	r.golden("else")
	r.write(r.create("main"), "mine")
	r.write(r.create("other"), "theirs")
	_, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "strange", Golden: "else", Wait: true})
	r.must(err)
	before := r.world.Things()
	take := func(from string) error {
		_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Clone: from, Wait: true})
		return err
	}
	for from, kind := range map[string]errs.Kind{"none": errs.NotFound, "main": errs.Invalid, "strange": errs.Precondition} {
		if err := take(from); !errs.Is(err, kind) {
			t.Errorf("take over %s: %v", from, err)
		}
	}
	r.world.Fail("engine.Checkpoint", errs.New(errs.Precondition, "TEST", "no"))
	if err := take("other"); err == nil || !strings.Contains(err.Error(), "could not be taken") {
		t.Errorf("take over what can't be taken: %v", err)
	}
	r.world.Fail("engine.Checkpoint", nil)
	r.atRest()
	if now := r.world.Things(); !slices.Equal(now, before) || r.read(r.get("main")) != "mine" {
		t.Errorf("changed from\n%v to\n%v", before, now)
	}
	r.must(take("other"))
	r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "other", Now: true, Wait: true}))
	if got := r.read(r.get("main")); got != "theirs" {
		t.Errorf("it reads %q", got)
	}
	c, err := r.plane.UndoClone(r.ctx(), "main", 0)
	r.must(err)
	if got := r.read(c); got != "mine" {
		t.Errorf("after undo it reads %q", got)
	}
	c, err = r.plane.UndoClone(r.ctx(), "main", 0) // the deleted clone's state is there still
	r.must(err)
	if got := r.read(c); got != "theirs" {
		t.Errorf("after redo it reads %q", got)
	}
	r.atRest()
}
