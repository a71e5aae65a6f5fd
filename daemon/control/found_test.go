package control_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// What TestModel has found, each as short as it could be made.

// portsInUse waits for n ports to be taken.
func (r *rig) portsInUse(n int) {
	r.t.Helper()
	r.eventually("ports", func() error {
		if free := r.plane.Status(r.ctx()).PortsFree; free != 500-n {
			return fmt.Errorf("%d ports are free, with %d in use", free, n)
		}
		return nil
	})
}

// TestPortOfDeletedParent: a deleted clone that is only there for its fork has no
// port, after a restart either.
func TestPortOfDeletedParent(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	r.create("main")
	r.fork("fork", "main", "")
	r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Wait: true}))
	r.portsInUse(1)
	r.restart()
	r.portsInUse(1)
}

// TestPortAfterLateError: a change that was written although an error came
// neither keeps a port nor gives away one that is in use.
func TestPortAfterLateError(t *testing.T) {
	t.Parallel()
	r := newRig(t, keeping)
	late := func(point string) {
		r.setFault(func(p string) error {
			if p == point {
				return errs.New(errs.Unavailable, "INJECTED", "%w", errInjected)
			}
			return nil
		})
	}
	r.golden("shop")
	r.create("gone")
	late("commit.outcome.after")
	if err := r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "gone", Now: true, Wait: true}); err == nil {
		t.Error("the deletion did not fail")
	}
	r.setFault(nil)
	r.portsInUse(0)

	r.create("back")
	late("instance.remove.after")
	if err := r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "back", Wait: true}); err == nil {
		t.Error("the deletion did not fail")
	}
	r.setFault(nil)
	r.portsInUse(0)

	r.create("again")
	r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "again", Wait: true}))
	late("commit.request.after")
	if _, err := r.plane.UndoClone(r.ctx(), "again", 0); err == nil {
		t.Error("the undo did not fail")
	}
	r.setFault(nil)
	r.eventuallyState("again", state.CloneReady)
	r.portsInUse(1)
	r.atRest()
}

// TestFailedForkHoldsNothing: of a fork that could not be made only a record is
// left, which keeps no snapshot of the parent.
func TestFailedForkHoldsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	parent := r.create("main")
	r.world.Fail("driver.Clone", errs.New(errs.Unavailable, "TEST", "no"))
	_, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "fork", From: "main"})
	r.must(err)
	r.eventuallyState("fork", state.CloneFailed)
	r.world.Fail("driver.Clone", nil)
	r.eventually("collected", func() error {
		if list := r.store.View().CloneSnapshots(parent.ID); len(list) > 0 {
			return fmt.Errorf("the parent has snapshots %+v", list)
		}
		return nil
	})
	r.atRest()
	if _, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "fork"}); errs.As(err).Reason != "CLONE_FAILED" {
		t.Errorf("reset of a failed clone: %v", err)
	}
}

// TestCreateAgainGoesOn: a create that is asked for again goes on at once, not
// with the next pass.
func TestCreateAgainGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *control.Config) { c.ReconcileEvery = time.Hour })
	r.golden("shop")
	once := true
	r.setFault(func(point string) error {
		if point != "commit.request.after" || !once {
			return nil
		}
		once = false
		return errs.New(errs.Unavailable, "INJECTED", "%w", errInjected)
	})
	request := control.CreateRequest{Name: "main", Golden: "shop", Wait: true}
	if _, _, err := r.plane.CreateClone(r.ctx(), request); err == nil {
		t.Fatal("the create did not fail")
	}
	if c, _, err := r.plane.CreateClone(r.ctx(), request); err != nil || c.State != state.CloneReady {
		t.Errorf("asked for again: %s, %v", c.State, err)
	}
}

// TestKeptOfDeletedExpires: what is kept of a clone is forgotten in its time
// although the clone is deleted meanwhile, which is kept for longer.
func TestKeptOfDeletedExpires(t *testing.T) {
	t.Parallel()
	var later atomic.Int64
	r := newRig(t, func(c *control.Config) {
		keeping(c)
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	r.golden("shop")
	r.create("main")
	_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true})
	r.must(err)
	r.atRest()
	later.Store(int64(30 * time.Minute))
	r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Wait: true}))
	r.atRest()
	later.Store(int64(70 * time.Minute))
	r.eventually("forgotten", func() error {
		list := r.plane.DeletedClones(r.ctx(), control.CloneFilter{})
		if len(list) != 1 || len(list[0].Kept)+len(list[0].Trash) > 0 {
			return fmt.Errorf("deleted: %+v", list)
		}
		return nil
	})
	r.atRest()
	_, err = r.plane.UndoClone(r.ctx(), "main", 0)
	r.must(err)
}

// TestForgetAllOfAName: what is kept under a name is forgotten wholly or not at
// all, although it can't be removed yet.
func TestForgetAllOfAName(t *testing.T) {
	t.Parallel()
	r := newRig(t, keeping)
	r.golden("shop")
	for range 2 {
		r.create("main")
		r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Wait: true}))
	}
	r.world.Fail("driver.Destroy", errs.New(errs.Unavailable, "TEST", "no"))
	if err := r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Now: true, Wait: true}); err == nil {
		t.Error("the deletion did not fail")
	}
	if list := r.plane.DeletedClones(r.ctx(), control.CloneFilter{}); len(list) > 0 {
		t.Errorf("still kept: %+v", list)
	}
	r.world.Fail("driver.Destroy", nil)
	r.atRest()
}
