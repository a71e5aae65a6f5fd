package control_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

func TestManyCreatesAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	var wg sync.WaitGroup
	ports := make([]int, 32)
	for i := range ports {
		ctx := r.ctx()
		wg.Go(func() {
			c, _, err := r.plane.CreateClone(ctx, control.CreateRequest{Name: fmt.Sprint("c", i), Golden: "shop", Wait: true})
			if err != nil {
				t.Error(err)
			}
			ports[i] = c.Port
		})
	}
	wg.Wait()
	seen := map[int]bool{}
	for _, port := range ports {
		if seen[port] {
			t.Errorf("port %d was given out twice", port)
		}
		seen[port] = true
	}
	r.atRest()
}

// TestSameNameAtOnce: of many equal requests one makes the clone, and all get it.
func TestSameNameAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids, made := map[string]bool{}, 0
	for range 16 {
		ctx := r.ctx()
		wg.Go(func() {
			c, created, err := r.plane.CreateClone(ctx, control.CreateRequest{Name: "main", Golden: "shop", Wait: true})
			mu.Lock()
			defer mu.Unlock()
			if err != nil || c.State != state.CloneReady {
				t.Errorf("%s: %v", c.State, err)
			}
			ids[c.ID] = true
			if created {
				made++
			}
		})
	}
	wg.Wait()
	if len(ids) != 1 || made != 1 {
		t.Errorf("%d clones, %d made", len(ids), made)
	}
	r.atRest()
}

// TestStorm lets clients do everything to a few names at once, while instances
// crash and the daemon is killed, and then looks for what is not whole.
func TestStorm(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	for round := range 4 {
		var wg sync.WaitGroup
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		for client := range 8 {
			random := rand.New(rand.NewPCG(uint64(round), uint64(client)))
			wg.Go(func() {
				for range 40 {
					storm(ctx, t, r.plane, random)
				}
			})
		}
		if round%2 == 1 {
			// Killed in the middle: what clients are told then is of no interest.
			time.Sleep(time.Duration(round) * 10 * time.Millisecond)
			if err := r.die(); err != nil {
				t.Error(err)
			}
			cancel()
		}
		wg.Wait()
		cancel()
		r.atRest()
		r.eventually("ports are free", func() error {
			used := 0
			for c := range r.store.View().Clones() {
				if c.Port != 0 {
					used++
				}
			}
			if free := r.plane.Status(r.ctx()).PortsFree; free != 500-used {
				return fmt.Errorf("round %d: %d, with %d in use", round, free, used)
			}
			return nil
		})
	}
}

// storm does one thing, which may well be refused, but never as a fault of ours.
func storm(ctx context.Context, t *testing.T, p *control.Plane, random *rand.Rand) {
	name := fmt.Sprint("n", random.IntN(4))
	var err error
	switch random.IntN(8) {
	case 0, 1, 2:
		_, _, err = p.CreateClone(ctx, control.CreateRequest{Name: name, Golden: "shop", Wait: random.IntN(2) == 0})
	case 3:
		err = p.DeleteClone(ctx, control.DeleteRequest{Name: name, Wait: random.IntN(2) == 0})
	case 4:
		_, err = p.ResetClone(ctx, control.ResetRequest{Name: name, Wait: random.IntN(2) == 0})
	case 5:
		_, err = p.SuspendClone(ctx, name)
	case 6:
		_, err = p.ResumeClone(ctx, name, false)
	case 7:
		label := map[string]string{"n": fmt.Sprint(random.IntN(9))}
		_, err = p.UpdateClone(ctx, name, control.CloneUpdate{SetLabels: label})
	}
	if errs.Is(err, errs.Internal) || errs.Is(err, errs.Corrupt) {
		t.Errorf("%s: %v", name, err)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.golden("shop")
	r.create("before")
	ctx, cancel := context.WithCancel(r.ctx())
	events, why, err := r.plane.Watch(ctx, 0, control.CloneFilter{})
	if err != nil {
		t.Fatal(err)
	}
	first := <-events
	if first.Type != control.EventPut || first.Clone.Name != "before" {
		t.Fatalf("first %+v", first)
	}
	r.create("after")
	if err := r.plane.DeleteClone(r.ctx(), control.DeleteRequest{Name: "after", Wait: true}); err != nil {
		t.Fatal(err)
	}
	var last control.Event
	var states []state.CloneState
	for last.Type != control.EventDelete {
		e := <-events
		if e.Revision <= last.Revision || e.Clone.Name != "after" {
			t.Errorf("after revision %d comes %+v", last.Revision, e)
		}
		last, states = e, append(states, e.Clone.State)
	}
	if fmt.Sprint(states) != "[creating ready deleting]" {
		t.Errorf("states %v", states)
	}
	cancel()
	if _, more := <-events; more {
		t.Error("an event after the end")
	}
	if why() == nil {
		t.Error("no reason for the end")
	}

	// Resumed, over a restart of the daemon.
	r.restart()
	events, _, err = r.plane.Watch(r.ctx(), first.Revision, control.CloneFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range states {
		if e := <-events; e.Clone.State != want {
			t.Errorf("resumed: %s, want %s", e.Clone.State, want)
		}
	}
	if _, _, err := r.plane.Watch(r.ctx(), 1<<40, control.CloneFilter{}); errs.As(err).Reason != "REVISION_EXPIRED" {
		t.Errorf("watch from the future: %v", err)
	}
}
