package control_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// as returns a context of a request by a plain user.
func (r *rig) as(principal string) context.Context {
	return control.WithCaller(r.ctx(), control.Caller{Principal: principal})
}

// TestLookUps: what a request names is looked up where its caller counts, and
// nowhere else. Whoever looks up a name otherwise has a reason that is named here.
func TestLookUps(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	may := map[string]int{
		"caller.go":       3, // the look-ups themselves
		"clone_create.go": 1, // a name is taken, whoever has it
		"golden.go":       3, // so is a golden's; its clones are counted, whosever they are; it was just made
		"publish.go":      1, // the golden of a clone that was looked up
		"clone_apply.go":  1, // from here on: what a record says, not a request
		"refresh.go":      1,
		"snapshot.go":     1,
		"tree.go":         1,
	}
	look := regexp.MustCompile(`(?:\bv|\btx|[vV]iew(?:\(\))?)\.(?:CloneNamed|ClonesByName|Golden)\(`)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := look.FindAll(source, -1); len(found) != may[file] {
			t.Errorf("%s looks up names %d times without regard to the caller, and %d are known to be right: %q", file, len(found), may[file], found)
		}
	}
}

// TestSameRequest: a clone is the same request's only for who made it.
func TestSameRequest(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	req := control.CreateRequest{Name: "dev", Golden: "shop", Owner: "alice@laptop", Branch: "secret", Wait: true}
	c, created, err := r.plane.CreateClone(r.as("unix:alice"), req)
	if err != nil || !created || c.Principal != "unix:alice" {
		t.Fatal(c, created, err)
	}
	if again, created, err := r.plane.CreateClone(r.as("unix:alice"), req); err != nil || created || again.ID != c.ID {
		t.Errorf("again: %v, %v, %v", again.ID, created, err)
	}
	for who, ctx := range map[string]context.Context{
		"another user": r.as("unix:bob"),
		"operator":     control.WithCaller(r.ctx(), control.Caller{Principal: "unix:olga", All: true, Change: true}),
	} {
		got, _, err := r.plane.CreateClone(ctx, req)
		if errs.As(err).Reason != "NAME_TAKEN" || !errs.Is(err, errs.Exists) || got.ID != "" {
			t.Errorf("%s: %v, %v", who, got.ID, err)
		}
		if told := strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "shop"); told != (who == "operator") {
			t.Errorf("%s is told: %v", who, err)
		}
	}
}

// TestOwnerless: a clone from before there were principals is nobody's. Who may
// change all clones finds it again by the same request.
func TestOwnerless(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	c := r.create("old")
	admin := control.WithCaller(r.ctx(), control.Caller{Principal: "unix:root", All: true, Change: true})
	viewer := control.WithCaller(r.ctx(), control.Caller{Principal: "unix:eve", All: true})
	if again, created, err := r.plane.CreateClone(admin, control.CreateRequest{Name: "old", Golden: "shop", Wait: true}); err != nil || created || again.ID != c.ID {
		t.Errorf("admin: %v, %v, %v", again.ID, created, err)
	}
	if r.plane.Endpoint(admin, c).Password == "" || r.plane.Endpoint(viewer, c).Password != "" || r.plane.Endpoint(r.as(""), c).Password != "" {
		t.Error("its credentials are not for admins and operators only")
	}
	if _, err := r.plane.GetClone(viewer, "old"); err != nil {
		t.Error("a viewer:", err)
	}
	for _, name := range []string{"unix:alice", ""} {
		if _, err := r.plane.GetClone(r.as(name), "old"); !errs.Is(err, errs.NotFound) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestFailedOfAnother: a failed create gives its name up to who made it.
func TestFailedOfAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	r.setFault(func(point string) error {
		if strings.Contains(point, "start") {
			return errs.New(errs.Corrupt, "BROKEN", "no")
		}
		return nil
	})
	req := control.CreateRequest{Name: "dev", Golden: "shop"}
	if _, _, err := r.plane.CreateClone(r.as("unix:alice"), req); err != nil {
		t.Fatal(err)
	}
	r.eventually("failed", func() error {
		c, err := r.plane.GetClone(r.ctx(), "dev")
		if err == nil && (c.State != state.CloneFailed || c.Next != 0) {
			err = errInjected
		}
		return err
	})
	r.setFault(nil)
	if _, _, err := r.plane.CreateClone(r.as("unix:bob"), req); errs.As(err).Reason != "NAME_TAKEN" {
		t.Errorf("another user: %v", err)
	}
	req.Wait = true
	if _, created, err := r.plane.CreateClone(r.as("unix:alice"), req); err != nil || !created {
		t.Errorf("who made it: %v", err)
	}
}

// TestOthersInTree: what descends from what is not there hangs on the golden, and
// a clone's lineage has nothing of another's.
func TestOthersInTree(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	r.golden("other")
	if _, _, err := r.plane.CreateClone(r.as("unix:alice"), control.CreateRequest{Name: "base", Golden: "shop", Wait: true}); err != nil {
		t.Fatal(err)
	}
	hers, _, err := r.plane.SnapshotClone(r.as("unix:alice"), control.SnapshotRequest{Clone: "base", Name: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	// As an operator Olga may fork it; later she is one no longer.
	operator := control.WithCaller(r.ctx(), control.Caller{Principal: "unix:olga", All: true, Change: true})
	fork, _, err := r.plane.CreateClone(operator, control.CreateRequest{Name: "fork", From: "base", Snapshot: "v1", Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	olga := r.as("unix:olga")
	list, err := r.plane.Lineage(olga, "fork")
	if err != nil || slices.ContainsFunc(list, func(s state.Snapshot) bool { return s.Clone != "" }) {
		t.Errorf("lineage: %v, %v", list, err)
	}
	if r.plane.CloneName(olga, hers.Clone) != "" || r.plane.CloneName(operator, hers.Clone) != "base" {
		t.Error("she learns whose it was, or an operator does not")
	}
	if _, err := r.plane.SnapshotUsage(olga, hers.ID); !errs.Is(err, errs.NotFound) {
		t.Errorf("usage: %v", err)
	}
	nodes, err := r.plane.Tree(olga, false)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, n := range nodes {
		if n.ID == hers.ID || n.ID == hers.Clone || n.Name == "base" {
			t.Errorf("in her tree: %+v", n)
		}
		if n.ID == fork.ID {
			found = n.Parent == "shop"
		}
	}
	if !found {
		t.Errorf("her clone does not hang on its golden: %+v", nodes)
	}
	// It goes back to where it came from all the same.
	if _, err := r.plane.ResetClone(olga, control.ResetRequest{Name: "fork", Wait: true}); err != nil {
		t.Errorf("reset: %v", err)
	}
	limited := control.WithCaller(r.ctx(), control.Caller{Principal: "token:x", All: true, Change: true, Goldens: []string{"other"}})
	if nodes, err = r.plane.Tree(limited, false); err != nil || len(nodes) != 2 || nodes[0].ID != "other" {
		t.Errorf("with one golden: %+v, %v", nodes, err)
	}
}
