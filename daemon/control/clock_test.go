package control_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// clocks are those of a host.
type clocks struct {
	mu    sync.Mutex
	boot  string
	began time.Time
	set   time.Duration // how far the host's clock was set
	slept time.Duration // how far both have gone on
}

func (k *clocks) now() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Now().Add(k.set + k.slept)
}

func (k *clocks) since() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Since(k.began) + k.slept
}

func (k *clocks) jump(by time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.set += by
}

func (k *clocks) pass(by time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.slept += by
}

// reboot is one that takes so long, after which the clock of the boot begins anew.
func (k *clocks) reboot(took time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.boot, k.began, k.set, k.slept = k.boot+"'", time.Now(), k.set+k.slept+took, 0
}

// clockRig is a rig with clocks. passes waits until n more passes have begun.
func clockRig(t *testing.T) (r *rig, k *clocks, passes func(n int64)) {
	k = &clocks{boot: "b", began: time.Now().Add(-time.Hour)}
	r = newRig(t, func(c *control.Config) {
		c.Now, c.Clock, c.KeepFor = k.now, control.BootClock{Boot: k.boot, Since: k.since}, time.Hour
	})
	var begun atomic.Int64
	r.world.OnCall("driver.List", func() { begun.Add(1) })
	return r, k, func(n int64) {
		t.Helper()
		until := begun.Load() + n
		r.eventually("passes", func() error {
			if begun.Load() < until {
				return errInjected
			}
			return nil
		})
	}
}

const year = 365 * 24 * time.Hour

// TestClockIsSet sets the host's clock forward and back, while the daemon runs and
// while it does not: what is to go in an hour goes when an hour has passed, and not
// before; and what users are told of it is right by the clock as it is set.
func TestClockIsSet(t *testing.T) {
	t.Parallel()
	r, k, passes := clockRig(t)
	r.golden("shop")
	for _, name := range []string{"short", "gone"} {
		if _, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: name, Golden: "shop", TTL: time.Hour, Wait: true}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "short", Wait: true}); err != nil {
		t.Fatal(err)
	}
	if err := r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "gone", Wait: true}); err != nil {
		t.Fatal(err)
	}
	soon := func(what string, at time.Time) error {
		if left := at.Sub(k.now()); left < 50*time.Minute || left > time.Hour+time.Second {
			return fmt.Errorf("%s in %v", what, left)
		}
		return nil
	}
	check := func(when string) {
		t.Helper()
		passes(3)
		c := r.get("short")
		if c.State != state.CloneReady || len(c.Kept) != 1 {
			t.Errorf("%s: it is %s and keeps %v", when, c.State, c.Kept)
			return
		}
		kept := r.plane.DeletedClones(r.ctx(), control.CloneFilter{})
		if len(kept) != 1 {
			t.Fatalf("%s: deleted and kept are %v", when, kept)
		}
		for _, err := range []error{soon("it expires", c.Expires), soon("what was reset goes", c.Kept[0].Until), soon("what was deleted goes", kept[0].KeptUntil)} {
			if err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
	}
	check("at first")
	for _, by := range []time.Duration{year, -2 * year, 3 * time.Hour, -time.Minute} {
		k.jump(by)
		check(fmt.Sprintf("set by %v", by))
		r.stop()
		k.jump(by)
		r.start()
		check(fmt.Sprintf("set by %v without the daemon", by))
	}
	k.pass(2 * time.Hour)
	r.eventually("expired when an hour has passed", func() error {
		if _, err := r.plane.GetClone(r.ctx(), "short"); !errs.Is(err, errs.NotFound) {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})
}

// TestClockAfterBoot: after a boot there is only the host's clock.
func TestClockAfterBoot(t *testing.T) {
	t.Parallel()
	r, k, passes := clockRig(t)
	r.golden("shop")
	for name, ttl := range map[string]time.Duration{"short": time.Hour, "long": 3 * time.Hour} {
		if _, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: name, Golden: "shop", TTL: ttl, Wait: true}); err != nil {
			t.Fatal(err)
		}
	}
	passes(2)
	r.stop()
	k.reboot(2 * time.Hour)
	r.world.Restart()
	r.start()
	r.eventually("short has expired", func() error {
		if _, err := r.plane.GetClone(r.ctx(), "short"); !errs.Is(err, errs.NotFound) {
			return fmt.Errorf("it is there: %v", err)
		}
		return nil
	})
	r.eventuallyState("long", state.CloneReady)
	if left := r.get("long").Expires.Sub(k.now()); left < 50*time.Minute || left > time.Hour {
		t.Errorf("it expires in %v", left)
	}
}

// TestNothingIsWrittenForADrift: a clock that is made to run a little faster is
// not one that was set.
func TestNothingIsWrittenForADrift(t *testing.T) {
	t.Parallel()
	r, k, passes := clockRig(t)
	passes(2)
	before := r.store.View().Clock()
	k.jump(time.Second)
	passes(2)
	if after := r.store.View().Clock(); after != before || before.Boot != "b" {
		t.Errorf("the clock was noted: %+v, then %+v", before, after)
	}
}
