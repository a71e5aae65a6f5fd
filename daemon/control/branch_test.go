package control_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// branchCases are the operations on snapshots of clones and on forks.
func branchCases(clone func(*rig)) []crashCase {
	reads := func(name, content string) func(*rig) error {
		return func(r *rig) error {
			c, err := r.plane.GetClone(r.ctx(), name)
			switch {
			case err != nil:
				return err
			case c.State != state.CloneReady:
				return fmt.Errorf("%s is %s: %s", name, c.State, c.Message)
			case r.read(c) != content:
				return fmt.Errorf("%s reads %q", name, r.read(c))
			}
			return nil
		}
	}
	all := func(checks ...func(*rig) error) func(*rig) error {
		return func(r *rig) error {
			for _, check := range checks {
				if err := check(r); err != nil {
					return err
				}
			}
			return nil
		}
	}
	absent := func(name string) func(*rig) error {
		return func(r *rig) error {
			if _, err := r.plane.GetClone(r.ctx(), name); !errs.Is(err, errs.NotFound) {
				return fmt.Errorf("get %s: %w", name, err)
			}
			return nil
		}
	}
	snapshot := func(r *rig) error {
		_, _, err := r.plane.SnapshotClone(r.ctx(), control.SnapshotRequest{Clone: "main", Name: "v1"})
		return unless(err, errs.Exists)
	}
	fork := func(from string) func(*rig) error {
		return func(r *rig) error {
			_, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "fork", From: "main", Snapshot: from, Wait: true})
			return err
		}
	}
	drop := func(name string) func(*rig) error {
		return func(r *rig) error {
			return unless(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: name, Wait: true}), errs.NotFound)
		}
	}
	// taken is a clone with a snapshot v1 that reads "mine", and "changed" since.
	taken := func(r *rig) {
		clone(r)
		r.must(snapshot(r))
		r.write(r.get("main"), "changed")
	}
	forked := func(r *rig) {
		clone(r)
		r.must(fork("")(r))
	}
	own := func(want ...string) func(*rig) error {
		return func(r *rig) error {
			if got := r.ownSnapshots("main"); !slices.Equal(got, want) {
				return fmt.Errorf("its snapshots are %q", got)
			}
			return nil
		}
	}
	return []crashCase{
		{"snapshot", clone, snapshot, all(own("v1"), reads("main", "mine"))},
		{"snapshot that fails", func(r *rig) {
			clone(r)
			r.world.Fail("engine.Checkpoint", errs.New(errs.Precondition, "TEST", "no"))
		}, func(r *rig) error {
			if err := snapshot(r); err == nil {
				return fmt.Errorf("the snapshot did not fail")
			}
			return nil
		}, all(own(), reads("main", "mine"))},
		{"fork", clone, fork(""), all(reads("fork", "mine"), reads("main", "mine"), own())},
		{"fork of a snapshot", taken, fork("v1"), all(reads("fork", "mine"), reads("main", "changed"))},
		{"reset to a snapshot", taken, func(r *rig) error {
			_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Snapshot: "v1", Wait: true})
			return err
		}, all(reads("main", "mine"), own("v1"))},
		{"delete the parent of a fork", forked, drop("main"), all(absent("main"), reads("fork", "mine"))},
		{"delete the fork of a deleted parent", func(r *rig) {
			forked(r)
			r.must(drop("main")(r))
		}, drop("fork"), all(absent("main"), absent("fork"), func(r *rig) error {
			for _, thing := range r.world.Things() {
				if strings.HasPrefix(thing, "volume c-") && !strings.Contains(thing, r.get("bystander").ID) {
					return fmt.Errorf("%s is left", thing)
				}
			}
			return nil
		})},
		{"delete a clone that was reset to its own snapshot", func(r *rig) {
			taken(r)
			_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Snapshot: "v1", Wait: true})
			r.must(err)
		}, drop("main"), all(absent("main"), func(r *rig) error {
			if list := r.store.View().Snapshots(""); len(list) != 1 {
				return fmt.Errorf("snapshots are left: %+v", list)
			}
			return nil
		})},
		{"delete a snapshot of a clone", taken, func(r *rig) error {
			list := r.store.View().CloneSnapshots(r.get("main").ID)
			if len(list) == 0 {
				return nil
			}
			return unless(r.plane.DeleteSnapshot(r.ctx(), list[0].ID), errs.NotFound)
		}, all(own(), reads("main", "changed"))},
	}
}

// ownSnapshots are the names of a clone's own snapshots.
func (r *rig) ownSnapshots(name string) []string {
	r.t.Helper()
	list, err := r.plane.Lineage(r.ctx(), name)
	r.must(err)
	var names []string
	for _, s := range list {
		if s.Clone == r.get(name).ID {
			names = append(names, s.Name)
		}
	}
	return names
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) snapshot(clone, name string) state.Snapshot {
	r.t.Helper()
	s, created, err := r.plane.SnapshotClone(r.ctx(), control.SnapshotRequest{Clone: clone, Name: name, Message: "why", Author: "who"})
	r.must(err)
	if !created || s.Name != name || s.Message != "why" || s.Author != "who" || s.State != state.SnapshotReady {
		r.t.Errorf("snapshot %+v, created %v", s, created)
	}
	return s
}

func (r *rig) fork(name, from, snapshot string) state.Clone {
	r.t.Helper()
	c, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: name, From: from, Snapshot: snapshot, Wait: true})
	r.must(err)
	return c
}

// TestLineage follows a line of clones, snapshots and forks: what each can be
// reset to and forked from, and what it reads then.
func TestLineage(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	golden := r.golden("shop")
	r.write(r.create("a"), "a1")
	a1 := r.snapshot("a", "v1")
	r.write(r.get("a"), "a2")
	a2 := r.snapshot("a", "v2")
	r.write(r.get("a"), "a3")
	b := r.fork("b", "a", "v2")
	if r.read(b) != "a2" || b.Golden != "shop" || b.Snapshot != a2.ID {
		t.Errorf("the fork reads %q and is %+v", r.read(b), b)
	}
	if _, err := r.world.Read(b.Port, r.plane.Endpoint(r.ctx(), r.get("a")).Password); err == nil {
		t.Error("the parent's password opens the fork")
	}
	r.write(b, "b1")
	b1 := r.snapshot("b", "v1")
	c := r.fork("c", "b", "") // of its present state: that snapshot is not shown
	r.write(c, "c1")

	ids := func(name string) []string {
		list, err := r.plane.Lineage(r.ctx(), name)
		r.must(err)
		var out []string
		for _, s := range list {
			out = append(out, s.ID)
		}
		return out
	}
	for name, want := range map[string][]string{
		"a": {a2.ID, a1.ID, golden.ID},
		"b": {b1.ID, a2.ID, a1.ID, golden.ID},
		"c": {b1.ID, a2.ID, a1.ID, golden.ID},
	} {
		if got := ids(name); !slices.Equal(got, want) {
			t.Errorf("lineage of %s: %v, want %v", name, got, want)
		}
	}
	reset := func(name, to, want string) {
		t.Helper()
		c, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: name, Snapshot: to, Wait: true})
		r.must(err)
		if got := r.read(c); got != want {
			t.Errorf("%s, reset to %q, reads %q, want %q", name, to, got, want)
		}
	}
	reset("c", b1.ID, "b1")
	reset("c", a1.ID, "a1")
	reset("b", "", "a2")
	reset("a", "v1", "a1")
	// What a reset has left behind can be returned to as long as it is a snapshot.
	reset("a", "v2", "a2")
	reset("a", golden.ID, "data of /shop, prepared")
	r.atRest()

	// Deleted in any order, nothing is left but the golden.
	for _, name := range []string{"a", "c", "b"} {
		r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: name, Wait: true}))
		r.atRest()
	}
	if things := r.world.Things(); len(things) != 2 {
		t.Errorf("left: %v", things)
	}
}

// TestBranchBadInput: each gets a clear error, and nothing is changed.
func TestBranchBadInput(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	other := r.golden("other")
	r.create("main")
	r.create("stranger")
	theirs := r.snapshot("stranger", "v1")
	r.snapshot("main", "v1")
	r.world.Fail("engine.Claim", errs.New(errs.Unavailable, "TEST", "no"))
	if _, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "failed", Golden: "shop"}); err != nil {
		t.Fatal(err)
	}
	r.eventuallyState("failed", state.CloneFailed)
	r.world.Fail("engine.Claim", nil)
	r.atRest()
	before, revision := r.world.Things(), r.store.View().Revision()

	take := func(req control.SnapshotRequest) func() error {
		return func() error { _, _, err := r.plane.SnapshotClone(r.ctx(), req); return err }
	}
	create := func(req control.CreateRequest) func() error {
		req.Wait = true
		return func() error { _, _, err := r.plane.CreateClone(r.ctx(), req); return err }
	}
	reset := func(to string) func() error {
		return func() error {
			_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Snapshot: to, Wait: true})
			return err
		}
	}
	for what, test := range map[string]struct {
		do    func() error
		kind  errs.Kind
		field string
	}{
		"a name that exists":           {take(control.SnapshotRequest{Clone: "main", Name: "v1"}), errs.Exists, ""},
		"a bad name":                   {take(control.SnapshotRequest{Clone: "main", Name: "v/1"}), errs.Invalid, "snapshot"},
		"an endless message":           {take(control.SnapshotRequest{Clone: "main", Message: strings.Repeat("x", 251)}), errs.Invalid, "message"},
		"a bad author":                 {take(control.SnapshotRequest{Clone: "main", Author: "a\nb"}), errs.Invalid, "author"},
		"a clone that is not":          {take(control.SnapshotRequest{Clone: "none"}), errs.NotFound, ""},
		"a clone that has failed":      {take(control.SnapshotRequest{Clone: "failed"}), errs.Precondition, ""},
		"a fork of nothing":            {create(control.CreateRequest{Name: "x"}), errs.Invalid, "golden"},
		"a fork and a clone":           {create(control.CreateRequest{Name: "x", Golden: "shop", From: "main"}), errs.Invalid, "golden"},
		"a fork of a bad name":         {create(control.CreateRequest{Name: "x", From: "../main"}), errs.Invalid, "from"},
		"a fork of no clone":           {create(control.CreateRequest{Name: "x", From: "none"}), errs.NotFound, ""},
		"a fork of a failed clone":     {create(control.CreateRequest{Name: "x", From: "failed"}), errs.Precondition, ""},
		"a fork of no snapshot":        {create(control.CreateRequest{Name: "x", From: "main", Snapshot: "v2"}), errs.NotFound, ""},
		"a fork of another's snapshot": {create(control.CreateRequest{Name: "x", From: "main", Snapshot: theirs.ID}), errs.Precondition, ""},
		"a reset to another's":         {reset(theirs.ID), errs.Precondition, ""},
		"a reset to another golden's":  {reset(other.ID), errs.Precondition, ""},
		"a reset to nothing":           {reset("nothing"), errs.NotFound, ""},
	} {
		err := test.do()
		if e := errs.As(err); err == nil || e.Kind != test.kind || e.Field != test.field {
			t.Errorf("%s: %v", what, err)
		}
	}
	if now := r.world.Things(); !slices.Equal(now, before) || r.store.View().Revision() != revision {
		t.Errorf("changed from\n%v to\n%v", before, now)
	}
}

// TestForkOfSuspended: it needs no instance, and starts none.
func TestForkOfSuspended(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	r.write(r.create("main"), "mine")
	_, err := r.plane.SuspendClone(r.ctx(), "main")
	r.must(err)
	if c := r.fork("fork", "main", ""); r.read(c) != "mine" {
		t.Errorf("the fork reads %q", r.read(c))
	}
	if c := r.get("main"); c.State != state.CloneSuspended {
		t.Errorf("the parent is %s", c.State)
	}
	r.atRest()
}

// TestParentDeletedMeanwhile: a fork whose parent goes while it is made fails
// with the reason, and leaves nothing.
func TestParentDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	t.Run("for good", func(t *testing.T) { testParentDeleted(t, nil, 0) })
	t.Run("kept", func(t *testing.T) { testParentDeleted(t, keeping, 1) })
}

func testParentDeleted(t *testing.T, tune func(*control.Config), kept int) {
	r := newRig(t, tune)
	r.golden("shop")
	r.create("main")
	var once sync.Once
	r.world.OnCall("runtime.Freeze", func() { // the request is written down by then
		once.Do(func() { r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Wait: false})) })
	})
	_, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "fork", From: "main", Wait: true})
	if err == nil || !strings.Contains(err.Error(), "main was deleted") {
		t.Errorf("fork: %v", err)
	}
	r.eventually("all gone", func() error {
		if things := r.world.Things(); len(things) != 2+kept { // the golden's volume and snapshot
			return fmt.Errorf("left: %v", things)
		}
		return nil
	})
	if have := len(r.plane.DeletedClones(r.ctx(), control.CloneFilter{})); have != kept {
		t.Errorf("%d clones are kept", have)
	}
	r.atRest()
}

// TestForksAtOnce: many forks of one clone at the same time each have its state.
func TestForksAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	r.write(r.create("main"), "mine")
	failed := make(chan error, 20)
	for i := range cap(failed) {
		go func() {
			_, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: fmt.Sprintf("fork-%d", i), From: "main", Wait: true})
			failed <- err
		}()
	}
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	for i := range cap(failed) {
		if c := r.get(fmt.Sprintf("fork-%d", i)); r.read(c) != "mine" {
			t.Errorf("%s reads %q", c.Name, r.read(c))
		}
	}
	r.atRest()
}

// TestTree: each node comes after what it descends from; what is deleted stays
// while something descends from it.
func TestTree(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	golden := r.golden("shop")
	r.write(r.create("a"), "a1")
	a1 := r.snapshot("a", "v1")
	r.fork("b", "a", "v1")
	r.fork("c", "b", "")
	r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "a", Wait: true}))
	r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "b", Wait: true}))
	r.atRest()
	nodes, err := r.plane.Tree(r.ctx(), true)
	r.must(err)
	var lines []string
	for i, n := range nodes {
		line := fmt.Sprintf("%s %s", n.Kind, n.Name)
		if n.Deleted {
			line += " deleted"
		}
		lines = append(lines, line)
		if n.Kind != control.NodeGolden && !slices.ContainsFunc(nodes[:i], func(p control.Node) bool { return p.ID == n.Parent }) {
			t.Errorf("%s comes before its parent %q", line, n.Parent)
		}
	}
	want := []string{
		"golden shop", "snapshot ", "clone a deleted", "snapshot v1 deleted", "clone b deleted", "snapshot  deleted", "clone c",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("tree:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if nodes[1].ID != golden.ID || nodes[3].ID != a1.ID {
		t.Errorf("nodes: %+v", nodes)
	}
}

// TestSnapshotTwice: the same request while it is being served is served once.
func TestSnapshotTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	r.create("main")
	began, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.world.OnCall("engine.Checkpoint", func() {
		once.Do(func() {
			close(began)
			<-goOn
		})
	})
	type answer struct {
		id      string
		created bool
		err     error
	}
	answers := make(chan answer, 2)
	take := func() {
		s, created, err := r.plane.SnapshotClone(r.ctx(), control.SnapshotRequest{Clone: "main", Name: "v1"})
		answers <- answer{s.ID, created, err}
	}
	go take()
	<-began
	go take()
	_, _, err := r.plane.SnapshotClone(r.ctx(), control.SnapshotRequest{Clone: "main", Name: "v1", Message: "another"})
	if !errs.Is(err, errs.Exists) {
		t.Errorf("another request of that name: %v", err)
	}
	r.eventually("the second waits", func() error {
		if r.plane.Waiting() < 2 {
			return errInjected
		}
		return nil
	})
	close(goOn)
	one, two := <-answers, <-answers
	if one.err != nil || two.err != nil || one.id != two.id || one.created == two.created {
		t.Errorf("answers: %+v and %+v", one, two)
	}
	if n := r.plane.Waiting(); n != 0 {
		t.Errorf("%d waiters are left", n)
	}
}

// TestSnapshotForgotten: the daemon dies, wherever it is with a snapshot, and the
// request is not on disk. Nobody was answered, and nothing of it is left.
func TestSnapshotForgotten(t *testing.T) {
	t.Parallel()
	for _, point := range []string{
		"instance.checkpoint.after", "instance.freeze.before", "instance.freeze.after", "snapshot.create.before", "snapshot.create.after",
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			r.golden("shop")
			r.write(r.create("main"), "mine")
			r.atRest()
			before, err := r.store.Copy()
			r.must(err)
			died := r.dieAt(point)
			if _, _, err := r.plane.SnapshotClone(r.ctx(), control.SnapshotRequest{Clone: "main", Name: "v1"}); err == nil {
				t.Error("it was answered")
			}
			<-died
			r.stop()
			r.must(os.WriteFile(r.path, before, 0o600))
			r.start()
			r.atRest()
			if got := r.ownSnapshots("main"); len(got) != 0 || r.read(r.get("main")) != "mine" {
				t.Errorf("its snapshots are %q, and it reads %q", got, r.read(r.get("main")))
			}
		})
	}
}

// TestSnapshotTakenBack: the request can't be written after all, when the snapshot is
// being taken. The clone is as it was, and at no time lost.
func TestSnapshotTakenBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	c := r.create("main")
	r.write(c, "mine")
	var revision uint64
	r.world.OnCall("runtime.Freeze", func() {
		defer func() { revision = r.store.View().Revision() }()
		r.must(r.store.Update(func(tx *state.Tx) error {
			now, _ := tx.Clone(c.ID)
			for _, id := range now.Taking {
				tx.DropSnapshot(id)
			}
			now.Taking = nil
			tx.PutClone(&now)
			return nil
		}))
	})
	ctx, cancel := context.WithTimeout(r.ctx(), 100*time.Millisecond) // the state tells nobody
	defer cancel()
	if _, _, err := r.plane.SnapshotClone(ctx, control.SnapshotRequest{Clone: "main", Name: "v1"}); !errs.Is(err, errs.Unavailable) {
		t.Errorf("answered: %v", err)
	}
	r.atRest()
	r.rest()
	if now := r.get("main"); now.State != state.CloneReady || r.read(now) != "mine" || r.store.View().Revision() != revision {
		t.Errorf("it is %+v and reads %q, and the state has changed %d times", now, r.read(now), r.store.View().Revision()-revision)
	}
}

// TestSnapshotOutcomeInDoubt: what went wrong only after the outcome was written down
// keeps nobody waiting.
func TestSnapshotOutcomeInDoubt(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	r.create("main")
	var once sync.Once
	r.setFault(func(point string) (err error) {
		if point == "commit.outcome.after" {
			once.Do(func() { err = errs.New(errs.Unavailable, "INJECTED", "%w", errInjected) })
		}
		return err
	})
	s, _, err := r.plane.SnapshotClone(r.ctx(), control.SnapshotRequest{Clone: "main", Name: "v1"})
	if err != nil || s.Name != "v1" || s.State != state.SnapshotReady {
		t.Errorf("answered: %+v, %v", s, err)
	}
	r.atRest()
}

// TestSnapshotTakenBefore: a snapshot that is there is taken, whatever fails when it is
// taken again: who asked for it may have been told.
func TestSnapshotTakenBefore(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	r.write(r.create("main"), "mine")
	died := r.dieAt("commit.outcome.before")
	if _, _, err := r.plane.SnapshotClone(r.ctx(), control.SnapshotRequest{Clone: "main", Name: "v1"}); err == nil {
		t.Error("it was answered")
	}
	<-died
	r.setFault(nil)
	r.world.Fail("engine.Checkpoint", errs.New(errs.Precondition, "TEST", "no"))
	r.restart()
	r.atRest()
	if got := r.ownSnapshots("main"); !slices.Equal(got, []string{"v1"}) {
		t.Errorf("its snapshots are %q", got)
	}
}

// TestRenewedWhileSnapshotIsTaken: what is to be done about a clone after its
// snapshot is done from what the snapshot has shown of it.
func TestRenewedWhileSnapshotIsTaken(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	c := r.create("main")
	before := r.read(c)
	r.world.OnCall("driver.Snapshot", func() {
		r.must(r.store.Update(func(tx *state.Tx) error {
			now, _ := tx.Clone(c.ID)
			now.Renew = true
			tx.PutClone(&now)
			return nil
		}))
	})
	if _, _, err := r.plane.SnapshotClone(r.ctx(), control.SnapshotRequest{Clone: "main", Name: "v1"}); err != nil {
		t.Fatal(err)
	}
	r.eventually("its instance is made anew", func() error {
		if now := r.get("main"); now.Renew || now.State != state.CloneReady {
			return fmt.Errorf("%+v", now)
		}
		return nil
	})
	if got := r.read(r.get("main")); got != before || r.world.Calls()["runtime.Start"] < 2 {
		t.Errorf("it reads %q", got)
	}
}
