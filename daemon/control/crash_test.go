package control_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// crashCase is an operation that is broken at each of its steps.
type crashCase struct {
	name    string
	prepare func(*rig)
	// do is what a client asks for, again and again until it is answered.
	do func(*rig) error
	// check says whether the operation has been done, wholly.
	check func(*rig) error
}

func crashCases() []crashCase {
	clone := func(r *rig) { r.write(r.create("main"), "mine") }
	suspended := func(r *rig) {
		clone(r)
		if _, err := r.plane.SuspendClone(r.ctx(), "main"); err != nil {
			r.t.Fatal(err)
		}
	}
	request := control.CreateRequest{Name: "main", Golden: "shop"}
	is := func(want state.CloneState, content string) func(*rig) error {
		return func(r *rig) error {
			c, err := r.plane.GetClone(r.ctx(), "main")
			switch {
			case err != nil:
				return err
			case c.State != want:
				return fmt.Errorf("it is %s: %s", c.State, c.Message)
			case want == state.CloneReady && r.read(c) != content:
				return fmt.Errorf("it reads %q", r.read(c))
			}
			return nil
		}
	}
	gone := func(r *rig) error {
		if _, err := r.plane.GetClone(r.ctx(), "main"); !errs.Is(err, errs.NotFound) {
			return fmt.Errorf("get: %w", err)
		}
		return nil
	}
	fresh := "data of /shop, prepared"
	snapshots := func(golden string, n int) func(*rig) error {
		return func(r *rig) error {
			// A snapshot whose publication was not answered is there all the same.
			if list, err := r.plane.ListSnapshots(r.ctx(), golden); err != nil || len(list) < n || len(list) > n+1 {
				return fmt.Errorf("there are %d snapshots: %w", len(list), err)
			}
			return nil
		}
	}
	return append(slices.Concat(branchCases(clone), undoCases(clone), changesCases(clone)), []crashCase{
		{"create", nil, func(r *rig) error {
			req := request
			req.Wait = true
			_, _, err := r.plane.CreateClone(r.ctx(), req)
			return err
		}, is(state.CloneReady, fresh)},
		{"create without waiting", nil, func(r *rig) error {
			if _, _, err := r.plane.CreateClone(r.ctx(), request); err != nil {
				return err
			}
			var outcome error
			r.eventually("created", func() error {
				c, err := r.plane.GetClone(r.ctx(), "main")
				if err == nil && c.State == state.CloneFailed {
					outcome = errInjected
				} else if err == nil && c.State != state.CloneReady {
					err = fmt.Errorf("it is %s", c.State)
				}
				return err
			})
			return outcome
		}, is(state.CloneReady, fresh)},
		{"reset", clone, func(r *rig) error {
			_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true})
			return err
		}, is(state.CloneReady, fresh)},
		{"reset of a suspended clone", suspended, func(r *rig) error {
			_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true})
			return err
		}, is(state.CloneSuspended, "")},
		{"reset that fails", func(r *rig) {
			clone(r)
			r.world.Fail("engine.Claim", errs.New(errs.Unavailable, "TEST", "no"))
		}, func(r *rig) error {
			if _, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true}); err == nil {
				return fmt.Errorf("the reset did not fail")
			}
			return nil
		}, is(state.CloneReady, "mine")},
		{"create that fails", func(r *rig) {
			r.world.Fail("engine.Claim", errs.New(errs.Unavailable, "TEST", "no"))
		}, func(r *rig) error {
			req := request
			req.Wait = true
			if _, _, err := r.plane.CreateClone(r.ctx(), req); err == nil {
				return fmt.Errorf("the create did not fail")
			}
			return nil
		}, gone},
		{"suspend", clone, func(r *rig) error {
			_, err := r.plane.SuspendClone(r.ctx(), "main")
			return err
		}, is(state.CloneSuspended, "")},
		{"resume", suspended, func(r *rig) error {
			_, err := r.plane.ResumeClone(r.ctx(), "main", false)
			return err
		}, is(state.CloneReady, "mine")},
		{"delete", clone, func(r *rig) error {
			return unless(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Wait: true}), errs.NotFound)
		}, gone},
		{"delete many", clone, func(r *rig) error {
			_, _, err := r.plane.DeleteClones(r.ctx(), control.CloneFilter{State: state.CloneReady, Golden: "shop"}, false)
			return err
		}, gone},
		{"create golden", nil, func(r *rig) error {
			_, _, err := r.plane.CreateGolden(r.ctx(), goldenRequest("new"), nil)
			return unless(err, errs.Exists)
		}, snapshots("new", 1)},
		{"create golden in place", func(r *rig) { r.world.SetForeign("tank/replica", "live") }, func(r *rig) error {
			src := state.GoldenSource{Kind: "inplace", Dataset: "tank/replica"}
			_, _, err := r.plane.CreateGolden(r.ctx(), control.CreateGoldenRequest{Name: "new", Source: src}, nil)
			return unless(err, errs.Exists)
		}, snapshots("new", 1)},
		{"refresh", nil, func(r *rig) error {
			_, err := r.plane.RefreshGolden(r.ctx(), "shop", nil)
			return err
		}, snapshots("shop", 2)},
		{"delete golden in place", func(r *rig) {
			r.world.SetForeign("tank/replica", "live")
			src := state.GoldenSource{Kind: "inplace", Dataset: "tank/replica"}
			if _, _, err := r.plane.CreateGolden(r.ctx(), control.CreateGoldenRequest{Name: "new", Source: src}, nil); err != nil {
				r.t.Fatal(err)
			}
		}, func(r *rig) error {
			return unless(r.plane.DeleteGolden(r.ctx(), "new"), errs.NotFound)
		}, func(r *rig) error {
			if _, _, err := r.plane.GetGolden(r.ctx(), "new"); !errs.Is(err, errs.NotFound) {
				return fmt.Errorf("get: %w", err)
			}
			return nil
		}},
		{"delete snapshot", func(r *rig) {
			if _, err := r.plane.RefreshGolden(r.ctx(), "shop", nil); err != nil {
				r.t.Fatal(err)
			}
		}, func(r *rig) error {
			list, err := r.plane.ListSnapshots(r.ctx(), "shop")
			if err != nil || len(list) == 1 {
				return err
			}
			return unless(r.plane.DeleteSnapshot(r.ctx(), list[0].ID), errs.NotFound)
		}, snapshots("shop", 1)},
		{"a crashed task", func(r *rig) {
			// A refresh dies while its task runs.
			r.world.Fail("runtime.Remove", errs.New(errs.Unavailable, "TEST", "no"))
			if _, err := r.plane.RefreshGolden(r.ctx(), "shop", nil); err == nil {
				r.t.Fatal("the refresh did not fail")
			}
		}, func(r *rig) error {
			r.world.Fail("runtime.Remove", nil)
			r.eventually("collected", func() error {
				if len(r.store.View().Snapshots("shop")) > 1 {
					return errInjected
				}
				return nil
			})
			return nil
		}, snapshots("shop", 1)},
	}...)
}

// unless makes an error of the kind a success: a client that was not answered
// finds that its first request did the work.
func unless(err error, kind errs.Kind) error {
	if errs.Is(err, kind) {
		return nil
	}
	return err
}

// points is a record of the fault points that were met.
type points struct {
	mu  sync.Mutex
	met []string
}

func (p *points) add(point string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.met = append(p.met, point)
}

// TestCrashMatrix breaks each operation at each of its outside steps: the step
// fails before it has done anything, or after, or the daemon dies there. Then
// every clone and golden must be whole or gone, nothing left over, no bystander
// hurt, and the client's retry must succeed.
func TestCrashMatrix(t *testing.T) {
	var all points
	t.Run("cases", func(t *testing.T) {
		for _, c := range crashCases() {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				met := dryRun(t, c)
				for i, point := range met {
					all.add(point)
					nth := count(met[:i+1], point)
					for _, kill := range []bool{false, true} {
						name := fmt.Sprintf("%s#%d", point, nth)
						if kill {
							name += " kill"
						}
						t.Run(name, func(t *testing.T) { breakAt(t, c, point, nth, kill) })
					}
				}
			})
		}
	})
	for _, point := range control.FaultPoints() {
		if !slices.Contains(all.met, point) {
			t.Errorf("no operation meets the fault point %s", point)
		}
	}
}

func count(list []string, s string) (n int) {
	for _, have := range list {
		if have == s {
			n++
		}
	}
	return n
}

// crashRig is a world with a golden and a clone that is not meant.
func crashRig(t *testing.T, c crashCase) *rig {
	r := newRig(t, nil)
	r.golden("shop")
	other := control.CreateRequest{Name: "bystander", Golden: "shop", Protect: true, Wait: true}
	bystander, _, err := r.plane.CreateClone(r.ctx(), other)
	if err != nil {
		t.Fatal(err)
	}
	r.write(bystander, "kept")
	if c.prepare != nil {
		c.prepare(r)
	}
	return r
}

// dryRun returns the fault points that the operation meets.
func dryRun(t *testing.T, c crashCase) []string {
	r := crashRig(t, c)
	var met points
	r.setFault(func(point string) error { met.add(point); return nil })
	if err := c.do(r); err != nil {
		t.Fatal("without any fault:", err)
	}
	settle(t, r, c)
	met.mu.Lock()
	defer met.mu.Unlock()
	return met.met
}

// settle waits until all is whole, and checks that it is what was asked for.
func settle(t *testing.T, r *rig, c crashCase) {
	t.Helper()
	r.atRest() // with what was made to fail still failing: what was begun is carried on
	r.world.Fail("engine.Claim", nil)
	r.atRest()
	if err := c.check(r); err != nil {
		t.Error("check:", err)
	}
	b := r.get("bystander")
	if r.read(b) != "kept" || b.Restarts != 0 || b.Generation != 1 {
		t.Errorf("the bystander reads %q and is %+v", r.read(b), b)
	}
}

func breakAt(t *testing.T, c crashCase, point string, nth int, kill bool) {
	r := crashRig(t, c)
	seen := 0
	r.setFault(func(p string) error {
		if p != point {
			return nil
		}
		if seen++; seen != nth {
			return nil
		}
		if kill {
			return r.die()
		}
		return errs.New(errs.Unavailable, "INJECTED", "%w at %s", errInjected, point)
	})
	var err error
	for range 50 {
		if err = c.do(r); err == nil || !retryable(err) {
			break
		}
		r.rest()
	}
	if err != nil {
		t.Errorf("the client's retry: %v", err)
	}
	settle(t, r, c)
}

// retryable is what a client would think.
func retryable(err error) bool {
	switch errs.KindOf(err) {
	case errs.Unavailable, errs.Conflict, errs.Internal, errs.NotFound:
		return true
	}
	return strings.Contains(err.Error(), errInjected.Error())
}
