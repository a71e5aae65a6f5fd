package control_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// changesCases look at what was written: whatever fails, the snapshot that is
// compared goes.
func changesCases(clone func(*rig)) []crashCase {
	check := func(r *rig) error {
		if c := r.get("main"); r.read(c) != "mine" || c.State != state.CloneReady {
			return fmt.Errorf("it is %s and reads %q", c.State, r.read(c))
		}
		if own := r.store.View().CloneSnapshots(r.get("main").ID); len(own) != 0 {
			return fmt.Errorf("snapshots are left: %+v", own)
		}
		return nil
	}
	return []crashCase{
		{"changes", clone, func(r *rig) error {
			_, relations, err := r.plane.Changes(r.ctx(), "main", "")
			if err == nil && !slices.Equal(relations, wrote("mine")) {
				err = fmt.Errorf("changes: %+v", relations)
			}
			return err
		}, check},
		{"changes that fail", func(r *rig) {
			clone(r)
			r.world.Fail("driver.ChangedBetween", errs.New(errs.Precondition, "TEST", "no"))
		}, func(r *rig) error {
			if _, _, err := r.plane.Changes(r.ctx(), "main", ""); err == nil {
				return errors.New("the comparison did not fail")
			}
			return nil
		}, check},
	}
}

// wrote is what is said of a volume in which this was written.
func wrote(content string) []database.Relation {
	n := int64(len(content))
	return []database.Relation{{Database: "shop", Name: "data", Kind: "table", Bytes: n, Size: n}}
}

// TestChanges compares with what the clone came from, with its own snapshots and
// with those it descends from; nothing is seen of it, and nothing is left.
func TestChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	golden := r.golden("shop")
	r.write(r.create("main"), "mine")
	v1 := r.snapshot("main", "v1")
	r.write(r.fork("fork", "main", "v1"), "theirs")
	r.world.OnCall("driver.ChangedBetween", func() {
		nodes, err := r.plane.Tree(context.Background(), false)
		if err != nil || len(nodes) != 5 { // golden, snapshot, main, v1, fork
			t.Errorf("meanwhile the tree is %+v, %v", nodes, err)
		}
		if list, err := r.plane.Lineage(r.ctx(), "main"); err != nil || len(list) != 2 {
			t.Errorf("meanwhile the lineage is %+v, %v", list, err)
		}
	})
	for _, test := range []struct {
		name, since, from string
		want              []database.Relation
	}{
		{"main", "", golden.ID, wrote("mine")},
		{"main", golden.ID, golden.ID, wrote("mine")},
		{"main", "v1", v1.ID, nil},
		{"main", v1.ID, v1.ID, nil},
		{"fork", "", v1.ID, wrote("theirs")},
		{"fork", golden.ID, golden.ID, wrote("theirs")},
	} {
		from, relations, err := r.plane.Changes(r.ctx(), test.name, test.since)
		if err != nil || from != test.from || !slices.Equal(relations, test.want) {
			t.Errorf("changes of %s since %q: since %s: %+v, %v", test.name, test.since, from, relations, err)
		}
		r.atRest()
		if own := r.ownSnapshots("main"); !slices.Equal(own, []string{"v1"}) {
			t.Errorf("then main has the snapshots %q", own)
		}
	}
}

// TestChangesRefused: what can't be compared is said so, and nothing is done.
func TestChangesRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	r.create("main")
	r.create("other")
	theirs := r.snapshot("other", "theirs")
	r.create("asleep")
	_, err := r.plane.SuspendClone(r.ctx(), "asleep")
	r.must(err)
	// Its golden's newer snapshot is in its lineage, and it does not descend from it.
	newer, err := r.plane.RefreshGolden(r.ctx(), "shop", nil)
	r.must(err)
	r.atRest()
	before := r.world.Things()
	for what, test := range map[string]struct {
		name, since string
		kind        errs.Kind
		reason      string
	}{
		"no clone":            {"none", "", errs.NotFound, "CLONE_NOT_FOUND"},
		"a suspended clone":   {"asleep", "", errs.Precondition, "NOT_READY"},
		"no snapshot":         {"main", "none", errs.NotFound, "SNAPSHOT_NOT_FOUND"},
		"another's snapshot":  {"main", theirs.ID, errs.Precondition, "NOT_IN_LINEAGE"},
		"a name of another's": {"main", "theirs", errs.NotFound, "SNAPSHOT_NOT_FOUND"},
		"no ancestor":         {"main", newer.ID, errs.Precondition, storage.ReasonNotAncestor},
	} {
		_, relations, err := r.plane.Changes(r.ctx(), test.name, test.since)
		if e := errs.As(err); err == nil || e.Kind != test.kind || e.Reason != test.reason || relations != nil {
			t.Errorf("%s: %+v, %v", what, relations, err)
		}
		r.atRest()
		if now := r.world.Things(); !slices.Equal(now, before) {
			t.Errorf("%s: changed from\n%v to\n%v", what, before, now)
		}
	}
	if n := r.plane.Waiting(); n != 0 {
		t.Errorf("%d waiters are left", n)
	}
}

// TestChangesUnsupported: the driver may know nothing of what changed.
func TestChangesUnsupported(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *control.Config) { c.Driver = struct{ storage.Driver }{c.Driver} })
	r.golden("shop")
	r.create("main")
	r.world.Calls()
	_, _, err := r.plane.Changes(r.ctx(), "main", "")
	if e := errs.As(err); err == nil || e.Kind != errs.Precondition || e.Reason != "NOT_SUPPORTED" {
		t.Errorf("changes: %v", err)
	}
	if n := r.world.Calls()["driver.Snapshot"]; n != 0 {
		t.Errorf("%d snapshots were taken", n)
	}
}

// TestChangesMeanwhile: the clone may be reset or deleted while it is compared,
// and who asked may go.
func TestChangesMeanwhile(t *testing.T) {
	t.Parallel()
	for what, meanwhile := range map[string]func(*rig, context.CancelFunc){
		"reset": func(r *rig, _ context.CancelFunc) {
			_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true})
			r.must(err)
		},
		"deleted": func(r *rig, _ context.CancelFunc) {
			r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Wait: true}))
		},
		"gone": func(_ *rig, cancel context.CancelFunc) { cancel() },
	} {
		for _, call := range []string{"engine.Checkpoint", "driver.ChangedBetween"} {
			t.Run(what+" at "+call, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, nil)
				r.golden("shop")
				r.write(r.create("main"), "mine")
				ctx, cancel := context.WithCancel(r.ctx())
				defer cancel()
				began, over := make(chan struct{}), make(chan error, 1)
				goOn := make(chan struct{})
				var met atomic.Bool
				r.world.OnCall(call, func() {
					if met.CompareAndSwap(false, true) {
						close(began)
						<-goOn
					}
				})
				go func() {
					_, _, err := r.plane.Changes(ctx, "main", "")
					over <- err
				}()
				<-began
				if call == "engine.Checkpoint" && what != "gone" {
					close(goOn) // the clone's owner does one thing after the other
					meanwhile(r, cancel)
				} else {
					meanwhile(r, cancel)
					close(goOn)
				}
				<-over // it may be in time
				r.atRest()
				for _, s := range r.store.View().Snapshots("") {
					if s.Clone != "" {
						t.Errorf("a snapshot is left: %+v", s)
					}
				}
				if n := r.plane.Waiting(); n != 0 {
					t.Errorf("%d waiters are left", n)
				}
			})
		}
	}
}
