package control_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

func (r *rig) orphans() (names []string) {
	r.t.Helper()
	list, err := r.plane.ListOrphans(r.ctx())
	r.must(err)
	for _, o := range list {
		if o.Reason == "" {
			r.t.Errorf("no reason: %+v", o)
		}
		names = append(names, o.Name)
	}
	return names
}

// degraded waits until the status says so.
func (r *rig) degraded(text string) {
	r.t.Helper()
	r.eventually(text, func() error {
		d := strings.Join(r.plane.Status(r.ctx()).Degraded, "; ")
		if strings.Contains(d, text) {
			return nil
		}
		return fmt.Errorf("degraded: %q", d)
	})
}

// TestSweepByOperator: what is too much for a pass, the operator lists and has
// swept, exactly what was listed, and nothing that has a record.
func TestSweepByOperator(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	c := r.create("main")
	r.atRest()
	whole := r.world.Things()
	plantMany(r, 7)
	r.world.Plant("g-bbbbbbbbbb")
	r.world.PlantInstance("t-bbbbbbbbbb-fill")
	r.world.PlantInstance("c-bbbbbbbbbb-1")
	stranger := fmt.Sprintf("c-%s-9", c.ID)
	r.world.Plant(stranger)
	r.degraded("10 orphans")
	listed := r.orphans()
	if len(listed) != 10 || !slices.Contains(listed, "volume g-bbbbbbbbbb") || !slices.Contains(listed, "task t-bbbbbbbbbb-fill") || !slices.Contains(listed, "instance c-bbbbbbbbbb-1") {
		t.Fatalf("listed %v", listed)
	}
	// One that is planted after the listing is not named, and stays.
	r.world.Plant("c-cccccccccc-1")
	// One that is named and can't be proved is left.
	extra := []string{"volume " + instance(c), "instance " + instance(c), "volume " + stranger, "volume c-zzzzzzzzzz-1", "snapshot " + strings.TrimPrefix(whole[1], "snapshot ")}
	swept, left, err := r.plane.SweepOrphans(r.ctx(), append(slices.Clone(listed), extra...))
	r.must(err)
	slices.Sort(swept)
	slices.Sort(listed)
	if !slices.Equal(swept, listed) || len(left) != len(extra) {
		t.Errorf("swept %v, left %+v", swept, left)
	}
	for _, l := range left {
		if !slices.Contains(extra, l.Name) || !strings.Contains(l.Why, "no orphan now") {
			t.Errorf("left %+v", l)
		}
	}
	// A few are for the passes again.
	want := slices.Sorted(slices.Values(append(slices.Clone(whole), "volume "+stranger)))
	r.eventually("the rest is swept", func() error {
		if have := r.world.Things(); !slices.Equal(have, want) {
			return fmt.Errorf("there is %v, wanted %v", have, want)
		}
		return nil
	})
	if r.read(c) == "" {
		t.Error("the clone is gone")
	}
	r.world.Take(stranger, true)
}

// TestSweepNeedsSight: on the strength of a list that failed, or of a state that
// never held anything, nothing is swept.
func TestSweepNeedsSight(t *testing.T) {
	t.Parallel()
	r := newRig(t, manual)
	r.golden("shop")
	r.create("main")
	plantMany(r, 2)
	before := r.world.Things()
	names := r.orphans()
	for _, call := range []string{"driver.List", "runtime.List"} {
		r.world.Fail(call, errAway)
		if _, err := r.plane.ListOrphans(r.ctx()); !errs.Is(err, errs.Unavailable) {
			t.Errorf("%s fails: listed, %v", call, err)
		}
		if swept, _, err := r.plane.SweepOrphans(r.ctx(), names); !errs.Is(err, errs.Unavailable) || len(swept) > 0 {
			t.Errorf("%s fails: swept %v, %v", call, swept, err)
		}
		r.world.Fail(call, nil)
	}
	r.stop()
	r.path += ".new"
	r.open()
	if err := r.plane.Run(r.ctx()); errs.As(err).Reason != "STATE_MISSING" {
		t.Fatalf("run: %v", err)
	}
	if swept, _, err := r.plane.SweepOrphans(r.ctx(), names); err == nil || len(swept) > 0 {
		t.Errorf("from an empty state: swept %v, %v", swept, err)
	}
	if after := r.world.Things(); !slices.Equal(after, before) {
		t.Errorf("there was %v, and is %v", before, after)
	}
	r.must(r.store.Close())

	// A state that has held something, and has no records now.
	s, err := state.Open(r.path, state.Options{})
	r.must(err)
	r.must(errors.Join(control.PutBack(s, time.Now()), s.Close()))
	r.start()
	r.degraded("a backup of the state was put back")
	if swept, _, err := r.plane.SweepOrphans(r.ctx(), names); errs.As(err).Reason != "STATE_MISSING" || len(swept) > 0 {
		t.Errorf("from a state without records: swept %v, %v", swept, err)
	}
	if after := r.world.Things(); !slices.Equal(after, before) {
		t.Errorf("there was %v, and is %v", before, after)
	}
	r.stop()
	r.path = strings.TrimSuffix(r.path, ".new")
	r.start()
}

// TestSweepChain sweeps orphans that descend from each other, in whatever order
// they are listed.
func TestSweepChain(t *testing.T) {
	t.Parallel()
	r := newRig(t, manual)
	r.golden("shop")
	r.create("main")
	_, _, err := r.plane.SnapshotClone(r.ctx(), control.SnapshotRequest{Clone: "main", Name: "s"})
	r.must(err)
	_, _, err = r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "fork", From: "main", Snapshot: "s", Wait: true})
	r.must(err)
	r.stop()
	// The records of both clones are lost, and those of the snapshot.
	s, err := state.Open(r.path, state.Options{})
	r.must(err)
	r.must(s.Update(func(tx *state.Tx) error {
		for _, name := range []string{"main", "fork"} {
			c, _ := tx.CloneNamed(name)
			for _, sn := range tx.CloneSnapshots(c.ID) {
				tx.DropSnapshot(sn.ID)
			}
			c.State = state.CloneDeleting
			tx.PutClone(&c)
			tx.DropClone(c.ID)
		}
		return nil
	}))
	r.must(s.Close())
	r.start()
	names := r.orphans()
	if len(names) != 5 { // two volumes, two instances, a snapshot
		t.Fatalf("orphans %v", names)
	}
	swept, left, err := r.plane.SweepOrphans(r.ctx(), names)
	if err != nil || len(swept) != 5 || len(left) != 0 {
		t.Errorf("swept %v, left %+v, %v", swept, left, err)
	}
	r.atRest()
}

// TestPutBack starts with a state from before a clone was made, a golden published,
// and a clone's life prolonged: nothing is lost, until the operator says so.
func TestPutBack(t *testing.T) {
	t.Parallel()
	soon := time.Now().Add(time.Hour)
	var ahead atomic.Int64
	r := newRig(t, func(c *control.Config) {
		keeping(c)
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	r.golden("shop")
	old := r.create("old")
	ttl := time.Until(soon)
	_, err := r.plane.UpdateClone(r.ctx(), "old", control.CloneUpdate{TTL: &ttl})
	r.must(err)
	backup, err := r.store.Copy()
	r.must(err)
	forever := time.Duration(0)
	_, err = r.plane.UpdateClone(r.ctx(), "old", control.CloneUpdate{TTL: &forever})
	r.must(err)
	young := r.create("young")
	r.write(young, "since the backup")
	r.atRest()
	r.stop()
	// A day later it is put back.
	r.path += ".restored"
	r.must(os.WriteFile(r.path, backup, 0o600))
	s, err := state.Open(r.path, state.Options{})
	r.must(err)
	ahead.Store(int64(23 * time.Hour))
	r.must(control.PutBack(s, time.Now().Add(time.Duration(ahead.Load()))))
	if s.View().Restored().IsZero() {
		t.Error("it does not say that it was put back")
	}
	r.must(s.Close())
	r.start()
	r.degraded("a backup of the state was put back")
	if names := r.orphans(); len(names) != 2 { // within the limit of a pass
		t.Errorf("orphans %v", names)
	}
	for range 3 {
		r.rest()
	}
	if now := r.get("old"); now.State != state.CloneReady || now.ID != old.ID {
		t.Errorf("what would have expired is %+v", now)
	}
	if got := strings.Join(r.world.Things(), " "); !strings.Contains(got, "volume "+instance(young)) || !strings.Contains(got, "instance "+instance(young)) {
		t.Errorf("what came after the backup is gone: %s", got)
	}
	if f := r.find("orphans"); f.Severity != control.Warning || !strings.Contains(f.Message, "put back") {
		t.Errorf("found %+v", f)
	}
	// The operator decides, and all is as ever.
	swept, left, err := r.plane.SweepOrphans(r.ctx(), r.orphans())
	if err != nil || len(swept) != 2 || len(left) != 0 {
		t.Fatalf("swept %v, left %+v, %v", swept, left, err)
	}
	r.eventually("known", func() error {
		if !r.store.View().Restored().IsZero() {
			return errInjected
		}
		return nil
	})
	r.world.Plant(orphanVolume(0))
	r.atRest()
}
