package control_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// limited is a request's context on behalf of a plain user.
func (r *rig) limited(principal string, l control.Limits) context.Context {
	return control.WithCaller(r.ctx(), control.Caller{Principal: principal, Limits: l})
}

func (r *rig) createAs(ctx context.Context, name string) error {
	_, _, err := r.plane.CreateClone(ctx, control.CreateRequest{Name: name, Golden: "shop", Wait: true})
	return err
}

// refused holds that a limit was reached, and that the error says which and how
// much of it is used.
func refused(t *testing.T, err error, reason string, says ...string) {
	t.Helper()
	if !errs.Is(err, errs.Exhausted) || errs.As(err).Reason != reason || errs.As(err).Hint == "" {
		t.Fatalf("got %v, want %s", err, reason)
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
}

const gib = 1 << 30

// TestCloneLimits: those of a principal, a golden and the host, each by itself.
func TestCloneLimits(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *control.Config) {
		c.MaxClones, c.GoldenLimits = 4, map[string]control.Limits{"shop": {Clones: 3}}
	})
	r.golden("shop")
	r.golden("other")
	ann, bob := r.limited("unix:ann", control.Limits{Clones: 2}), r.limited("unix:bob", control.Limits{})
	r.must(r.createAs(ann, "a1"))
	r.must(r.createAs(ann, "a2"))
	refused(t, r.createAs(ann, "a3"), "CLONE_LIMIT", "unix:ann has 2 clones, and at most 2")
	r.must(r.createAs(bob, "b1"))
	refused(t, r.createAs(bob, "b2"), "CLONE_LIMIT", "golden shop has 3 clones, and at most 3")
	_, _, err := r.plane.CreateClone(bob, control.CreateRequest{Name: "fork", From: "b1", Wait: true})
	refused(t, err, "CLONE_LIMIT", "golden shop")
	_, _, err = r.plane.CreateClone(bob, control.CreateRequest{Name: "o1", Golden: "other", Wait: true})
	r.must(err)
	_, _, err = r.plane.CreateClone(bob, control.CreateRequest{Name: "o2", Golden: "other", Wait: true})
	refused(t, err, "CLONE_LIMIT", "this host has 4 clones, and at most 4")
	// The same request again takes nothing more, and what goes makes room. After a
	// restart it is as before.
	r.must(r.createAs(ann, "a1"))
	r.restart()
	refused(t, r.createAs(ann, "a3"), "CLONE_LIMIT")
	r.must(r.plane.DeleteClone(ann, control.DeleteRequest{Name: "a2", Wait: true}))
	r.must(r.createAs(ann, "a3"))
	r.atRest()
}

// TestUndoWithinLimits: a deleted clone comes back only if there is room.
func TestUndoWithinLimits(t *testing.T) {
	t.Parallel()
	r := newRig(t, keeping)
	r.golden("shop")
	ann := r.limited("unix:ann", control.Limits{Clones: 1})
	r.must(r.createAs(ann, "a1"))
	r.must(r.plane.DeleteClone(ann, control.DeleteRequest{Name: "a1", Wait: true}))
	r.must(r.createAs(ann, "a2"))
	_, err := r.plane.UndoClone(ann, "a1", 0)
	refused(t, err, "CLONE_LIMIT", "unix:ann")
	r.atRest()
}

// TestMemoryLimits: what suspended clones would use others may have meanwhile.
func TestMemoryLimits(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *control.Config) { c.MemoryBytes, c.CloneMemoryBytes = 3*gib, gib })
	r.golden("shop")
	ann := r.limited("unix:ann", control.Limits{MemoryBytes: 2 * gib})
	r.must(r.createAs(ann, "a1"))
	r.must(r.createAs(ann, "a2"))
	refused(t, r.createAs(ann, "a3"), "MEMORY_LIMIT", "unix:ann", "2048.0 MiB", "1024.0 MiB")
	r.create("b1")
	_, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "b2", Golden: "shop", Wait: true})
	refused(t, err, "MEMORY_LIMIT", "this host", "3072.0 MiB")
	_, err = r.plane.SuspendClone(ann, "a1")
	r.must(err)
	r.create("b2")
	_, err = r.plane.ResumeClone(ann, "a1", false)
	refused(t, err, "MEMORY_LIMIT", "this host")
	if c := r.get("a1"); c.State != state.CloneSuspended {
		t.Errorf("the refused resume left it %s", c.State)
	}
	r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "b2", Wait: true}))
	_, err = r.plane.ResumeClone(ann, "a1", false)
	r.must(err)
	if got := r.world.MemoryLimit("c-" + r.get("a1").ID + "-1"); got != gib {
		t.Errorf("its instance may use %d bytes", got)
	}
	r.atRest()
}

// TestUncountedMemory: what has no limit of its own is not given where the sum is
// limited.
func TestUncountedMemory(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	err := r.createAs(r.limited("unix:ann", control.Limits{MemoryBytes: 2 * gib}), "a1")
	if !errs.Is(err, errs.Precondition) || errs.As(err).Reason != "NO_MEMORY_LIMIT" {
		t.Errorf("create: %v", err)
	}
	r.atRest()
}

// TestLifeLimits: nobody gets a longer life than the limit, by whatever way.
func TestLifeLimits(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *control.Config) {
		c.DefaultTTL, c.GoldenLimits = 3*time.Hour, map[string]control.Limits{"shop": {MaxTTL: 2 * time.Hour}}
	})
	r.golden("shop")
	ann, bob := r.limited("unix:ann", control.Limits{MaxTTL: time.Hour}), r.limited("unix:bob", control.Limits{})
	left := func(name string, want time.Duration) {
		t.Helper()
		if left := time.Until(r.get(name).Expires); left > want || left < want-time.Minute {
			t.Errorf("%s lives another %v, want %v", name, left, want)
		}
	}
	r.must(r.createAs(ann, "a1"))
	left("a1", time.Hour)
	r.must(r.createAs(bob, "b1"))
	left("b1", 2*time.Hour)
	for _, c := range []struct {
		ctx     context.Context
		ttl     time.Duration
		protect bool
		says    string
	}{
		{ann, 90 * time.Minute, false, "unix:ann may live 1h0m0s at most, and 1h30m0s is asked for"},
		{bob, 3 * time.Hour, false, "golden shop"},
		{ann, 0, true, "a protected clone has no end"},
	} {
		_, _, err := r.plane.CreateClone(c.ctx, control.CreateRequest{Name: "x", Golden: "shop", TTL: c.ttl, Protect: c.protect, Wait: true})
		refused(t, err, "TTL_LIMIT", c.says)
	}
	long, forever, on := 90*time.Minute, time.Duration(0), true
	_, err := r.plane.UpdateClone(ann, "a1", control.CloneUpdate{TTL: &long})
	refused(t, err, "TTL_LIMIT")
	_, err = r.plane.UpdateClone(ann, "a1", control.CloneUpdate{Protect: &on})
	refused(t, err, "TTL_LIMIT")
	_, err = r.plane.UpdateClone(ann, "a1", control.CloneUpdate{TTL: &forever})
	r.must(err)
	left("a1", time.Hour) // as long as it may
	r.atRest()
}

// TestNoQuota: what the storage can't hold a clone to, it does not promise.
func TestNoQuota(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	err := r.createAs(r.limited("unix:ann", control.Limits{DiskBytes: gib}), "a1")
	if !errs.Is(err, errs.Precondition) || errs.As(err).Reason != "NO_QUOTA" || errs.As(err).Hint == "" {
		t.Errorf("create: %v", err)
	}
	r.atRest()
}
