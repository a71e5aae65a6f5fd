package control_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

func TestBadRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *control.Config) { c.MaxTTL, c.MaxClones = time.Hour, 1 })
	s := r.golden("shop")
	before := r.store.View().Revision()
	for _, test := range []struct {
		what string
		req  control.CreateRequest
		want errs.Kind
	}{
		{"name", control.CreateRequest{Name: "../x", Golden: "shop"}, errs.Invalid},
		{"golden's name", control.CreateRequest{Name: "x", Golden: ""}, errs.Invalid},
		{"unknown golden", control.CreateRequest{Name: "x", Golden: "nope"}, errs.NotFound},
		{"unknown snapshot", control.CreateRequest{Name: "x", Golden: "shop", Snapshot: "nope"}, errs.NotFound},
		{"negative TTL", control.CreateRequest{Name: "x", Golden: "shop", TTL: -1}, errs.Invalid},
		{"long TTL", control.CreateRequest{Name: "x", Golden: "shop", TTL: 2 * time.Hour}, errs.Invalid},
		{"port out of range", control.CreateRequest{Name: "x", Golden: "shop", Port: 80}, errs.Invalid},
		{"branch", control.CreateRequest{Name: "x", Golden: "shop", Branch: "a\x00b"}, errs.Invalid},
		{"label", control.CreateRequest{Name: "x", Golden: "shop", Labels: map[string]string{"": "v"}}, errs.Invalid},
	} {
		if _, _, err := r.plane.CreateClone(r.ctx(), test.req); !errs.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.what, err, test.want)
		}
	}
	for what, req := range map[string]control.CreateGoldenRequest{
		"name":          {Name: "A"},
		"engine":        {Name: "x", Engine: "oracle"},
		"limits":        {Name: "x", Options: state.GoldenOptions{MemoryBytes: -1}},
		"password file": {Name: "x", Source: state.GoldenSource{Kind: "basebackup", PasswordFile: "/does/not/exist"}},
		"dataset":       {Name: "x", Source: state.GoldenSource{Kind: "inplace", Dataset: "nope"}},
		"data dir":      {Name: "x", Source: state.GoldenSource{Kind: "inplace", Dataset: "nope", DataDir: "../.."}},
	} {
		if _, _, err := r.plane.CreateGolden(r.ctx(), req, nil); !errs.Is(err, errs.Invalid) {
			t.Errorf("golden's %s: %v", what, err)
		}
	}
	if _, _, err := r.plane.DeleteClones(r.ctx(), control.CloneFilter{}, false); !errs.Is(err, errs.Invalid) {
		t.Errorf("empty filter: %v", err)
	}
	if err := r.plane.DeleteSnapshot(r.ctx(), s.ID); !errs.Is(err, errs.Precondition) {
		t.Errorf("last snapshot: %v", err)
	}
	if now := r.store.View().Revision(); now != before {
		t.Errorf("the state went from revision %d to %d", before, now)
	}
	if free := r.plane.Status(r.ctx()).PortsFree; free != 500 {
		t.Errorf("%d ports are free", free)
	}

	r.create("one")
	if _, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "two", Golden: "shop", Wait: true}); errs.As(err).Reason != "CLONE_LIMIT" {
		t.Errorf("over the limit: %v", err)
	}
	if free := r.plane.Status(r.ctx()).PortsFree; free != 499 {
		t.Errorf("%d ports are free after a refusal", free)
	}
}

func TestFloorOfSpace(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *control.Config) { c.FloorBytes = 1 << 30 })
	r.golden("shop")
	r.create("one")
	r.world.SetFree(1 << 20)
	r.eventually("noticed", func() error {
		if r.plane.Status(r.ctx()).Space.Free != 1<<20 {
			return errInjected
		}
		return nil
	})
	_, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "two", Golden: "shop", Wait: true})
	if e := errs.As(err); e.Kind != errs.Exhausted || e.Hint == "" {
		t.Errorf("create: %v", err)
	}
	if _, err := r.plane.RefreshGolden(r.ctx(), "shop", nil); !errs.Is(err, errs.Exhausted) {
		t.Errorf("refresh: %v", err)
	}
	if _, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "one", Wait: true}); !errs.Is(err, errs.Exhausted) {
		t.Errorf("reset: %v", err)
	}
	r.world.SetFree(1 << 40)
	r.create("two") // what was freed counts at once
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	const first = 23600
	taken, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", first))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := taken.Close(); err != nil {
			t.Error(err)
		}
	}()
	r := newRig(t, func(c *control.Config) { c.PortFirst, c.PortLast = first, first+3 })
	r.golden("shop")
	c := r.create("one")
	if c.Port != first+1 {
		t.Errorf("port %d", c.Port)
	}
	if _, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "two", Golden: "shop", Port: first}); errs.As(err).Reason != "PORT_TAKEN" {
		t.Errorf("a port that a program has: %v", err)
	}
	if _, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "two", Golden: "shop", Port: c.Port}); errs.As(err).Reason != "PORT_TAKEN" {
		t.Errorf("a port that a clone has: %v", err)
	}

	r.write(c, "mine")
	if _, err := r.plane.SuspendClone(r.ctx(), "one"); err != nil {
		t.Fatal(err)
	}
	thief, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", c.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := thief.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := r.plane.ResumeClone(r.ctx(), "one", false); errs.As(err).Reason != "PORT_TAKEN" || errs.As(err).Hint == "" {
		t.Errorf("resume: %v", err)
	}
	if now := r.get("one"); now.State != state.CloneSuspended {
		t.Errorf("a refused resume leaves it %s", now.State)
	}
	c, err = r.plane.ResumeClone(r.ctx(), "one", true)
	if err != nil || c.Port != first+2 || r.read(c) != "mine" {
		t.Errorf("resume with another port: %+v, %v", c, err)
	}
	r.atRest()
	if free := r.plane.Status(r.ctx()).PortsFree; free != 3 {
		t.Errorf("%d ports are free", free)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	for _, name := range []string{"a", "b", "c", "d"} {
		req := control.CreateRequest{Name: name, Golden: "shop", Labels: map[string]string{"odd": fmt.Sprint(name == "a" || name == "c")}}
		if _, _, err := r.plane.CreateClone(r.ctx(), req); err != nil {
			t.Fatal(err)
		}
	}
	list := func(f control.CloneFilter, size int) (pages string) {
		token := ""
		for {
			page, next, err := r.plane.ListClones(r.ctx(), f, size, token)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range page {
				pages += c.Name
			}
			if token = next; token == "" {
				return pages
			}
			pages += "|"
		}
	}
	if got := list(control.CloneFilter{}, 2); got != "ab|cd" {
		t.Errorf("pages %s", got)
	}
	if got := list(control.CloneFilter{Labels: map[string]string{"odd": "true"}}, 1); got != "a|c" {
		t.Errorf("pages %s", got)
	}
	r.atRest()
}

func TestProtectAndRevision(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	c := r.create("main")
	on, off := true, false
	if _, err := r.plane.UpdateClone(r.ctx(), "main", control.CloneUpdate{Protect: &on, Revision: c.Revision}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.plane.UpdateClone(r.ctx(), "main", control.CloneUpdate{Protect: &off, Revision: c.Revision}); !errs.Is(err, errs.Conflict) {
		t.Errorf("an outdated revision: %v", err)
	}
	if err := r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "main", Wait: true}); errs.As(err).Reason != "PROTECTED" {
		t.Errorf("delete: %v", err)
	}
	if _, skipped, err := r.plane.DeleteClones(r.ctx(), control.CloneFilter{Golden: "shop"}, false); err != nil || len(skipped) != 1 {
		t.Errorf("delete many: skipped %v, %v", skipped, err)
	}
}

func TestAdopt(t *testing.T) {
	t.Parallel()
	r := newRig(t, keeping)
	r.golden("shop")
	c := r.create("main")
	r.write(c, "mine")
	password := r.plane.Endpoint(r.ctx(), c).Password
	// Suspended in its first generation, with a newer one kept: nothing tells
	// which of them is the present one.
	_, err := r.plane.ResetClone(r.ctx(), control.ResetRequest{Name: "main", Wait: true})
	r.must(err)
	r.write(r.get("main"), "later")
	_, err = r.plane.UndoClone(r.ctx(), "main", 0)
	r.must(err)
	_, err = r.plane.SuspendClone(r.ctx(), "main")
	r.must(err)
	r.atRest()
	r.stop()
	r.path += ".new"
	r.open()
	report, err := r.plane.Adopt(r.ctx())
	if err != nil || len(report) != 3 {
		t.Fatalf("adopt: %q, %v", report, err)
	}
	if _, err := r.plane.Adopt(r.ctx()); !errs.Is(err, errs.Precondition) {
		t.Errorf("adopt again: %v", err)
	}
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.atRest()
	got := r.eventuallyState(c.ID, state.CloneSuspended)
	if got, err = r.plane.ResumeClone(r.ctx(), got.Name, false); err != nil || r.read(got) != "later" {
		t.Fatalf("resume: %+v, %v", got, err)
	}
	if got, err = r.plane.UndoClone(r.ctx(), got.Name, 0); err != nil || r.read(got) != "mine" {
		t.Fatalf("the generation that was suspended: %+v, %v", got, err)
	}
	if r.plane.Endpoint(r.ctx(), got).Password != password {
		t.Error("the password has changed")
	}
	if _, err := r.plane.RefreshGolden(r.ctx(), got.Golden, nil); errs.As(err).Reason != "SOURCE_UNKNOWN" {
		t.Errorf("refresh: %v", err)
	}
	if err := r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: got.Name, Wait: true}); errs.As(err).Reason != "PROTECTED" {
		t.Errorf("delete: %v", err)
	}
	r.atRest()
}
