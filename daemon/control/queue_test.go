package control_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
)

// queued begins a create that waits for room, and returns once it does.
func (r *rig) queued(ctx context.Context, name string, result chan<- string) {
	r.t.Helper()
	n := r.plane.Queued()
	go func() {
		_, _, err := r.plane.CreateClone(ctx, control.CreateRequest{Name: name, Golden: "shop", Queue: time.Minute, Wait: true})
		if err != nil {
			name = fmt.Sprintf("%s: %v", name, err)
		}
		result <- name
	}()
	r.eventually(name+" waits", func() error {
		if have := r.plane.Queued(); have != n+1 {
			return fmt.Errorf("%d wait", have)
		}
		return nil
	})
}

// TestQueueIsFair: principals take turns, however many requests each has; of one
// the first comes first.
func TestQueueIsFair(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *control.Config) { c.MaxClones = 1 })
	r.golden("shop")
	r.create("first")
	result := make(chan string, 10)
	busy, other := r.limited("token:busy", control.Limits{}), r.limited("token:other", control.Limits{})
	for _, name := range []string{"busy1", "busy2", "busy3"} {
		r.queued(busy, name, result)
	}
	r.queued(other, "other1", result)
	// While they wait, nobody comes before them.
	err := r.createAs(r.limited("token:third", control.Limits{}), "third")
	refused(t, err, "QUEUED", "4 requests wait")
	r.must(r.createAs(r.ctx(), "first")) // what is there already takes no room
	var order []string
	last := "first"
	for range 4 {
		r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: last, Wait: true}))
		last = <-result
		order = append(order, last)
	}
	if want := []string{"busy1", "other1", "busy2", "busy3"}; !slices.Equal(order, want) {
		t.Errorf("in the order %v, want %v", order, want)
	}
	r.atRest()
}

// TestQueueEnds: a wait ends with its time, with its caller, and with the daemon;
// nothing is left of it.
func TestQueueEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *control.Config) { c.MaxClones = 1 })
	r.golden("shop")
	r.create("first")
	_, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: "late", Golden: "shop", Queue: 50 * time.Millisecond, Wait: true})
	refused(t, err, "CLONE_LIMIT", "after 50ms of waiting", "this host has 1 clones")
	ctx, cancel := context.WithCancel(r.ctx())
	result := make(chan error, 1)
	go func() {
		_, _, err := r.plane.CreateClone(ctx, control.CreateRequest{Name: "gone", Golden: "shop", Queue: time.Minute})
		result <- err
	}()
	r.eventually("it waits", func() error {
		if r.plane.Queued() != 1 {
			return errInjected
		}
		return nil
	})
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if n := r.plane.Queued(); n != 0 {
		t.Errorf("%d still wait", n)
	}
	names := make(chan string, 1)
	r.queued(r.ctx(), "stopped", names)
	r.restart()
	if name := <-names; name == "stopped" {
		t.Error("a clone was made though there was no room")
	}
	r.atRest()
}

// TestQueueOwnLimit: who waits for its own clones to go keeps nobody else waiting.
func TestQueueOwnLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	ann := r.limited("unix:ann", control.Limits{Clones: 1})
	r.must(r.createAs(ann, "a1"))
	result := make(chan string, 1)
	r.queued(ann, "a2", result)
	r.must(r.createAs(r.limited("unix:bob", control.Limits{}), "b1"))
	r.must(r.plane.DeleteClone(ann, control.DeleteRequest{Name: "a1", Wait: true}))
	if name := <-result; name != "a2" {
		t.Error(name)
	}
	r.atRest()
}

// TestQueueIsBounded: one principal can't fill it.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *control.Config) { c.MaxClones = 1 })
	r.golden("shop")
	r.create("first")
	ctx, cancel := context.WithCancel(r.limited("token:busy", control.Limits{}))
	defer cancel()
	full := make(chan error, 101)
	var wg sync.WaitGroup
	for i := range 101 {
		wg.Go(func() {
			_, _, err := r.plane.CreateClone(ctx, control.CreateRequest{Name: fmt.Sprint("c", i), Golden: "shop", Queue: time.Minute})
			full <- err
		})
	}
	refused(t, <-full, "QUEUE_FULL", "100 of them of token:busy")
	result := make(chan string, 1)
	r.queued(r.limited("token:other", control.Limits{}), "other", result)
	cancel()
	wg.Wait()
	for range 100 {
		if err := <-full; !errs.Is(err, errs.Exhausted) && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	r.must(r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "first", Wait: true}))
	if name := <-result; name != "other" {
		t.Error(name)
	}
	r.atRest()
}
