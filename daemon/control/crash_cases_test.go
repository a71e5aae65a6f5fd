package control_test

import (
	"fmt"
	"slices"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

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
	deleteGolden := func(r *rig) error { return unless(r.plane.DeleteGolden(r.ctx(), "new"), errs.NotFound) }
	noGolden := func(r *rig) error {
		if _, _, err := r.plane.GetGolden(r.ctx(), "new"); !errs.Is(err, errs.NotFound) {
			return fmt.Errorf("get: %w", err)
		}
		return nil
	}
	return append(slices.Concat(branchCases(clone), undoCases(clone), changesCases(clone), leaseCases(clone), passCases(clone)), []crashCase{
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
					outcome = errs.New(errs.Unavailable, "TEST", "%w: %s", errInjected, c.Message)
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
		{"resume on another port", func(r *rig) {
			suspended(r)
			r.occupy(r.get("main").Port)
		}, func(r *rig) error {
			_, err := r.plane.ResumeClone(r.ctx(), "main", true)
			return err
		}, is(state.CloneReady, "mine")},
		{"restart of a database that ended", clone, func(r *rig) error {
			if r.get("main").Restarts == 0 && r.running("main") {
				r.world.Crash(instance(r.get("main")), 1, false)
			}
			r.eventually("restarted", func() error {
				if c := r.get("main"); c.Restarts == 0 || c.State != state.CloneReady {
					return fmt.Errorf("it is %s after %d restarts", c.State, c.Restarts)
				}
				return nil
			})
			return nil
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
		{"delete golden", func(r *rig) {
			r.golden("new")
			_, err := r.plane.RefreshGolden(r.ctx(), "new", nil)
			r.must(err)
		}, deleteGolden, noGolden},
		{"delete golden in place", func(r *rig) {
			r.world.SetForeign("tank/replica", "live")
			src := state.GoldenSource{Kind: "inplace", Dataset: "tank/replica"}
			if _, _, err := r.plane.CreateGolden(r.ctx(), control.CreateGoldenRequest{Name: "new", Source: src}, nil); err != nil {
				r.t.Fatal(err)
			}
		}, deleteGolden, noGolden},
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
			r.world.OnCall("engine.Fill", func() { r.world.Fail("runtime.Remove", errs.New(errs.Unavailable, "TEST", "no")) })
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
