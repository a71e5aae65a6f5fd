package control_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/matrix"
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

// passes are cases about passes, by name: elsewhere the steps that only passes do
// are left out, for they come at any time.
const passes = "pass: "

// waysToBreak are those that each point is broken in: an error before the step
// and after it, and the daemon's death there.
const waysToBreak = 4

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
	var counted matrix.Count
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
						met := false
						passed := t.Run(name, func(t *testing.T) { met = breakAt(t, c, point, nth, kill) })
						if met || !passed {
							counted.Add(passed)
						}
					}
				}
			})
		}
	})
	known := control.FaultPoints()
	for _, point := range known {
		if !slices.Contains(all.met, point) {
			t.Errorf("no operation meets the fault point %s", point)
		}
	}
	for _, point := range all.met {
		if !slices.Contains(known, point) {
			t.Errorf("FaultPoints does not name %s", point)
		}
	}
	matrix.Record(t, "fakes", counted.Entry(len(known)/2, waysToBreak))
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
	about := func(point string) bool { return strings.HasPrefix(point, "pass.") == strings.HasPrefix(c.name, passes) }
	return slices.DeleteFunc(met.met, func(point string) bool { return !about(point) })
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

// breakAt breaks the operation where it meets the point for the nth time. That
// is not met each time where a pass has been quicker or slower than in the dry
// run.
func breakAt(t *testing.T, c crashCase, point string, nth int, kill bool) (met bool) {
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
		if err = c.do(r); err == nil || !r.retryable(err) {
			break
		}
		r.rest()
	}
	if err != nil {
		t.Errorf("the client's retry: %v", err)
	}
	settle(t, r, c)
	r.mu.Lock()
	defer r.mu.Unlock()
	return seen >= nth
}

// retryable is what a client is told, or finds when the daemon has died.
func (r *rig) retryable(err error) bool { return r.dead() || errs.As(err).Retryable }
