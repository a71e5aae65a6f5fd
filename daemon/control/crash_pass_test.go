package control_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
)

// leaseCases end lives, and what is kept, by the clock.
func leaseCases(clone func(*rig)) []crashCase {
	create := func(req control.CreateRequest) func(*rig) {
		return func(r *rig) {
			req.Name, req.Golden, req.Wait = "main", "shop", true
			_, _, err := r.plane.CreateClone(r.ctx(), req)
			r.must(err)
		}
	}
	keep := func(then func(*rig)) func(*rig) {
		return func(r *rig) {
			r.tune = func(c *control.Config) { keeping(c); c.KeepExpired = true }
			r.restart()
			then(r)
		}
	}
	// after lets time go by until main is gone.
	after := func(d time.Duration) func(*rig) error {
		return func(r *rig) error {
			r.eventually("expired", func() error {
				r.pass(d)
				return r.noClone()
			})
			return nil
		}
	}
	nothing := func(r *rig) error {
		for _, thing := range r.world.Things() {
			if strings.HasPrefix(thing, "volume c-") && !strings.Contains(thing, r.get("bystander").ID) {
				return fmt.Errorf("%s is left", thing)
			}
		}
		return r.noClone()
	}
	return []crashCase{
		{"end of a lease", create(control.CreateRequest{TTL: time.Hour}), after(time.Hour), nothing},
		{"end of a lease, kept", keep(create(control.CreateRequest{TTL: time.Hour})), func(r *rig) error {
			r.ahead.Store(int64(time.Hour)) // not further, for then what is kept goes too
			r.eventually("expired", r.noClone)
			return nil
		}, func(r *rig) error {
			if kept := r.plane.DeletedClones(r.ctx(), control.CloneFilter{}); len(kept) != 1 {
				return fmt.Errorf("kept is %+v", kept)
			}
			return r.noClone()
		}},
		{"end of a hold", create(control.CreateRequest{Held: true}), func(r *rig) error {
			ctx, cancel := context.WithCancel(r.ctx())
			err := r.plane.HoldClone(ctx, "main", func() error { cancel(); return nil })
			if err = unless(err, errs.NotFound); err != nil {
				return err
			}
			return after(control.HoldGrace)(r)
		}, nothing},
		{"end of what is kept", keep(func(r *rig) {
			clone(r)
			_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true})
			r.must(err)
			r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Wait: true}))
		}), func(r *rig) error {
			r.eventually("forgotten", func() error {
				r.pass(time.Hour)
				return nothing(r)
			})
			return nil
		}, nothing},
		{"end of what is kept for want of space", keep(func(r *rig) {
			clone(r)
			r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Wait: true}))
			tune := r.tune
			r.tune = func(c *control.Config) { tune(c); c.FloorBytes = 1 << 30 }
			r.restart()
		}), func(r *rig) error {
			r.world.SetFree(1)
			r.eventually("forgotten", func() error { return nothing(r) })
			return nil
		}, nothing},
		{"update", clone, func(r *rig) error {
			ttl := time.Hour
			_, err := r.plane.UpdateClone(r.ctx(), "main", control.CloneUpdate{TTL: &ttl, SetLabels: map[string]string{"a": "b"}})
			return err
		}, func(r *rig) error {
			if c := r.get("main"); c.Labels["a"] != "b" || c.Expires.IsZero() || r.read(c) != "mine" {
				return fmt.Errorf("it is %+v", c)
			}
			return nil
		}},
	}
}

// passCases are about what passes do by themselves.
func passCases(clone func(*rig)) []crashCase {
	swept := func(things ...string) func(*rig) error {
		return func(r *rig) error {
			have := r.world.Things()
			for _, thing := range things {
				if slices.Contains(have, thing) {
					return fmt.Errorf("%s is left", thing)
				}
			}
			return nil
		}
	}
	sweep := func(things ...string) func(*rig) error {
		return func(r *rig) error {
			r.eventually("swept", func() error { return swept(things...)(r) })
			return nil
		}
	}
	plant := func(r *rig) {
		r.world.Plant("c-aaaaaaaaaa-1")
		r.world.PlantSnapshot("c-aaaaaaaaaa-1", "bbbbbbbbbb")
		r.world.PlantInstance("c-cccccccccc-1")
	}
	orphans := []string{"volume c-aaaaaaaaaa-1", "snapshot c-aaaaaaaaaa-1@bbbbbbbbbb", "instance c-cccccccccc-1"}
	probed := func(r *rig) {
		// The daemon's death while a refresh looks at its image: its task stays.
		r.world.Fail("runtime.Remove", errs.New(errs.Unavailable, "TEST", "no"))
		if _, err := r.plane.RefreshGolden(r.ctx(), "shop", nil); err == nil {
			r.t.Fatal("the refresh did not fail")
		}
	}
	return []crashCase{
		{passes + "nothing to do", clone, func(r *rig) error { r.rest(); return nil }, swept()},
		{passes + "sweep", nil, func(r *rig) error { plant(r); return sweep(orphans...)(r) }, swept(orphans...)},
		{"sweep", nil, func(r *rig) error { plant(r); return sweep(orphans...)(r) }, swept(orphans...)},
		{"sweep after a probe that died", probed, func(r *rig) error {
			r.world.Fail("runtime.Remove", nil)
			r.eventually("swept", func() error {
				for _, thing := range r.world.Things() {
					if strings.HasPrefix(thing, "instance ") && !strings.HasPrefix(thing, "instance c-") {
						return fmt.Errorf("%s is left", thing)
					}
				}
				return nil
			})
			return nil
		}, swept()},
	}
}

// noClone returns an error while there is a clone main.
func (r *rig) noClone() error {
	if c, err := r.plane.GetClone(r.ctx(), "main"); !errs.Is(err, errs.NotFound) {
		return fmt.Errorf("it is %s: %w", c.State, err)
	}
	return nil
}

// running says whether somebody could connect to the clone.
func (r *rig) running(name string) bool {
	return slices.Contains(r.world.Things(), "instance "+instance(r.get(name)))
}

// occupy has another program listen on a port until the test ends.
func (r *rig) occupy(port int) {
	r.t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	r.must(err)
	r.t.Cleanup(func() { l.Close() })
}
