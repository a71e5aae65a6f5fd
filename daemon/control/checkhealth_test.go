package control_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// manual is a plane whose passes come when the test says so: what is broken stays
// so, and is found all the same.
func manual(c *control.Config) { c.ReconcileEvery = time.Hour }

// find returns the one finding of the check.
func (r *rig) find(check string) control.Finding {
	r.t.Helper()
	var of []control.Finding
	h := r.plane.CheckHealth(r.ctx())
	for _, f := range h.Findings {
		if f.Check == check {
			of = append(of, f)
		}
	}
	if len(of) != 1 || of[0].Remedy == "" || !slices.Contains(h.Checks, check) {
		r.t.Fatalf("%s: %+v, all of %v found %+v", check, of, h.Checks, h.Findings)
	}
	return of[0]
}

func (r *rig) well() {
	r.t.Helper()
	if h := r.plane.CheckHealth(r.ctx()); len(h.Findings) > 0 || len(h.Checks) < 15 {
		r.t.Fatalf("all should be well: %+v of %v", h.Findings, h.Checks)
	}
}

var errAway = errs.New(errs.Unavailable, "TEST", "away").WithHint("bring it back")

// TestFindings breaks one thing at a time: each is found, with how bad it is, what
// it is, and what would mend it; and it is no longer found when it is mended.
func TestFindings(t *testing.T) {
	t.Parallel()
	var clock atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(clock.Load())) }
	fail := func(call string, err error) func(*rig, state.Clone) func() {
		return func(r *rig, _ state.Clone) func() {
			r.world.Fail(call, err)
			return func() { r.world.Fail(call, nil) }
		}
	}
	change := func(r *rig, do func(*state.Clone)) {
		r.t.Helper()
		r.must(r.store.Update(func(tx *state.Tx) error {
			c, _ := tx.CloneNamed("main")
			do(&c)
			tx.PutClone(&c)
			return nil
		}))
	}
	for _, c := range []struct {
		name     string
		check    string
		severity control.Severity
		says     string // part of the message
		remedy   string // part of it
		tune     func(*control.Config)
		damage   func(*rig, state.Clone) (mend func())
	}{
		{"volumes can't be listed", "storage", control.Fault, "away", "bring it back", nil, fail("driver.List", errAway)},
		{"instances can't be listed", "runtime", control.Fault, "away", "bring it back", nil, fail("runtime.List", errAway)},
		{"runtime away", "runtime", control.Fault, "does not answer", "bring it back", nil, fail("runtime.Check", errAway)},
		{"rules gone", "network", control.Fault, "away", "bring it back", nil, fail("runtime.CheckSetup", errAway)},
		{"space unknown", "space", control.Fault, "does not tell its space", "bring it back", nil, fail("driver.Space", errAway)},
		{"image gone", "images", control.Fault, "clones of golden shop can't be started", "clonectl golden refresh shop", nil,
			fail("runtime.FindImage", errs.New(errs.Precondition, container.ReasonImageMissing, "gone"))},
		{"below the floor", "space", control.Fault, "less than the floor", "clonectl rm", func(c *control.Config) { c.FloorBytes = 1 << 20 },
			func(r *rig, _ state.Clone) func() {
				r.world.SetFree(1 << 19)
				return func() { r.world.SetFree(1 << 40) }
			}},
		{"near the floor", "space", control.Warning, "below 1.0 MiB nothing is created", "clonectl rm", func(c *control.Config) { c.FloorBytes = 1 << 20 },
			func(r *rig, _ state.Clone) func() {
				r.world.SetFree(3 << 19)
				return func() { r.world.SetFree(1 << 40) }
			}},
		{"volume gone", "clones", control.Fault, "of clone main has vanished", "clonectl reset main", nil,
			func(r *rig, c state.Clone) func() {
				putBack := r.world.Take(instance(c), true)
				return func() { putBack(); r.again("main") }
			}},
		{"container gone", "clones", control.Warning, "does not run", "clonectl logs main", nil,
			func(r *rig, c state.Clone) func() {
				r.world.Take(instance(c), false)
				return func() { r.again("main") }
			}},
		{"crashed for good", "clones", control.Fault, "3 restarts did not last", "clonectl logs main", nil,
			func(r *rig, c state.Clone) func() {
				change(r, func(c *state.Clone) { c.State, c.Failures, c.Message = state.CloneCrashed, 3, "exit code 1" })
				return func() { change(r, func(c *state.Clone) { c.State, c.Failures, c.Message = state.CloneReady, 0, "" }) }
			}},
		{"failed", "clones", control.Fault, "main is failed: because", "clonectl rm main", nil,
			func(r *rig, c state.Clone) func() {
				change(r, func(c *state.Clone) { c.State, c.Message = state.CloneFailed, "because" })
				return func() { change(r, func(c *state.Clone) { c.State, c.Message = state.CloneReady, "" }) }
			}},
		{"golden's volume gone", "snapshots", control.Fault, "whose volume has vanished: ", "clonectl golden refresh", nil,
			func(r *rig, c state.Clone) func() { return r.world.TakeSnapshot(c.Snapshot) }},
		{"clock set back", "clock", control.Warning, "was set back", "timedatectl", func(c *control.Config) { c.Now = now },
			func(*rig, state.Clone) func() {
				clock.Store(-int64(time.Hour))
				return func() { clock.Store(0) }
			}},
		{"a few orphans", "orphans", control.Warning, "volume c-aaaaaaaaaa-1", "clonectl gc", nil,
			func(r *rig, _ state.Clone) func() {
				r.world.Plant("c-aaaaaaaaaa-1")
				return func() { r.world.Take("c-aaaaaaaaaa-1", true) }
			}},
		{"many orphans", "orphans", control.Fault, "6 orphans", "clonectl gc", nil,
			func(r *rig, _ state.Clone) func() {
				plantMany(r, 6)
				return func() {
					for i := range 6 {
						r.world.Take(orphanVolume(i), true)
					}
				}
			}},
		{"a stranger", "strangers", control.Warning, "-9", "cloned state restore", nil,
			func(r *rig, c state.Clone) func() {
				newer := fmt.Sprintf("c-%s-9", c.ID)
				r.world.Plant(newer)
				return func() { r.world.Take(newer, true) }
			}},
		{"port taken", "ports", control.Fault, "is taken by another program", "clonectl resume --new-port main", nil,
			func(r *rig, c state.Clone) func() {
				_, err := r.plane.SuspendClone(r.ctx(), "main")
				r.must(err)
				l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", c.Port))
				r.must(err)
				return func() { r.must(l.Close()) }
			}},
		{"kept over budget", "kept", control.Warning, "more than its budget", "clonectl ls --deleted",
			func(c *control.Config) { c.KeepFor, c.KeepBytes = time.Hour, 4 },
			func(r *rig, c state.Clone) func() {
				r.write(c, "more than four bytes")
				_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true})
				r.must(err)
				return func() {
					r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Now: true, Wait: true}))
				}
			}},
		{"kept volume gone", "clones", control.Warning, "can't go back to generation 1", "nothing brings it back", keeping,
			func(r *rig, c state.Clone) func() {
				_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true})
				r.must(err)
				r.eventually("settled", func() error {
					if k := r.get("main").Kept; len(k) != 1 || !k[0].Settled {
						return errInjected
					}
					return nil
				})
				return r.world.Take(instance(c), true)
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(cfg *control.Config) {
				manual(cfg)
				if c.tune != nil {
					c.tune(cfg)
				}
			})
			r.golden("shop")
			clone := r.create("main")
			r.well()
			before := r.world.Things()
			mend := c.damage(r, clone)
			damaged := r.world.Things()
			f := r.find(c.check)
			if f.Severity != c.severity || !strings.Contains(f.Message, c.says) || !strings.Contains(f.Remedy, c.remedy) {
				t.Errorf("found %+v", f)
			}
			if after := r.world.Things(); !slices.Equal(after, damaged) {
				t.Errorf("looking has changed\n%v to\n%v", damaged, after)
			}
			mend()
			if c.check != "kept" && c.name != "kept volume gone" && c.name != "port taken" {
				if after := r.world.Things(); !slices.Equal(after, before) {
					t.Errorf("the test did not mend it: %v", after)
				}
			}
			r.well()
		})
	}
}

// again has a pass see to the clone.
func (r *rig) again(name string) {
	r.t.Helper()
	r.restart()
	r.eventually("running", func() error {
		_, err := r.world.Read(r.get(name).Port, r.plane.Endpoint(r.ctx(), r.get(name)).Password)
		return err
	})
	r.eventuallyState(name, state.CloneReady)
}

func orphanVolume(i int) string { return fmt.Sprintf("c-aaaaaaaaa%c-1", 'a'+i) }

func plantMany(r *rig, n int) {
	for i := range n {
		r.world.Plant(orphanVolume(i))
	}
}

// TestFindingsOfRefresh finds what a failed refresh has left and can't be removed.
func TestFindingsOfRefresh(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	r.world.Fail("engine.Prepare", errs.New(errs.Internal, "TEST", "no"))
	r.world.Fail("driver.Destroy", errAway)
	done := make(chan error, 1)
	go func() {
		_, err := r.plane.RefreshGolden(r.ctx(), "shop", nil)
		done <- err
	}()
	r.eventually("found", func() error {
		for _, f := range r.plane.CheckHealth(r.ctx()).Findings {
			if f.Check == "snapshots" && strings.Contains(f.Message, "refresh that failed") && f.Severity == control.Warning {
				return nil
			}
		}
		return errInjected
	})
	r.world.Fail("driver.Destroy", nil)
	if err := <-done; err == nil {
		t.Error("the refresh succeeded")
	}
	r.eventually("mended", func() error {
		if h := r.plane.CheckHealth(r.ctx()); len(h.Findings) > 0 {
			return fmt.Errorf("%+v", h.Findings)
		}
		return nil
	})
}

// TestFindingsOfHost are those that Status has, too.
func TestFindingsOfHost(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *control.Config) { c.Driver = ailing{c.Driver} })
	r.rest()
	if f := r.find("pool"); f.Severity != control.Fault || !strings.Contains(f.Message, "DEGRADED") {
		t.Errorf("found %+v", f)
	}
	r.world.Fail("driver.List", errAway)
	r.eventually("noted", func() error {
		if len(r.plane.Status(r.ctx()).Degraded) < 2 {
			return errInjected
		}
		return nil
	})
	if f := r.find("passes"); f.Severity != control.Fault || !strings.Contains(f.Message, "last reconciliation failed") {
		t.Errorf("found %+v", f)
	}
	// What Status calls degraded is what CheckHealth finds.
	messages := map[string]bool{}
	for _, f := range r.plane.CheckHealth(r.ctx()).Findings {
		messages[f.Message] = true
	}
	for _, d := range r.plane.Status(r.ctx()).Degraded {
		if !messages[d] {
			t.Errorf("degraded, and not found: %s", d)
		}
	}
}

// stuck is a driver that has stopped answering, whoever asks and however long.
type stuck struct {
	storage.Driver
	from    *atomic.Bool
	release chan struct{}
}

func (s stuck) Space(ctx context.Context) (storage.Space, error) {
	if s.from.Load() {
		<-s.release
	}
	return s.Driver.Space(ctx)
}

// TestStuck asks while the pool hangs: it is a finding, and so often as it is asked
// for, only one look hangs.
func TestStuck(t *testing.T) {
	t.Parallel()
	var from atomic.Bool
	release := make(chan struct{})
	r := newRig(t, func(c *control.Config) {
		manual(c)
		c.Driver = stuck{c.Driver, &from, release}
	})
	r.golden("shop")
	r.create("main")
	from.Store(true)
	for range 3 {
		ctx, cancel := context.WithTimeout(r.ctx(), 200*time.Millisecond)
		began := time.Now()
		h := r.plane.CheckHealth(ctx)
		cancel()
		if took := time.Since(began); took > 2*time.Second || !slices.ContainsFunc(h.Findings, func(f control.Finding) bool {
			return f.Check == "space" && strings.Contains(f.Message, "no answer")
		}) {
			t.Errorf("after %v: %+v", took, h.Findings)
		}
	}
	close(release)
	r.eventually("well", func() error {
		if h := r.plane.CheckHealth(r.ctx()); len(h.Findings) > 0 {
			return fmt.Errorf("%+v", h.Findings)
		}
		return nil
	})
}

// TestHealthForUsers: who sees only their own clones is told of no others.
func TestHealthForUsers(t *testing.T) {
	t.Parallel()
	r := newRig(t, manual)
	r.golden("shop")
	c := r.create("main")
	r.world.Take(instance(c), true)
	if f := r.find("clones"); !strings.Contains(f.Message, "main") {
		t.Errorf("found %+v", f)
	}
	h := r.plane.CheckHealth(control.WithCaller(r.ctx(), control.Caller{Principal: "somebody"}))
	if len(h.Findings) > 0 || slices.Contains(h.Checks, "clones") || len(h.Checks) < 10 {
		t.Errorf("somebody is told %+v of %v", h.Findings, h.Checks)
	}
}
