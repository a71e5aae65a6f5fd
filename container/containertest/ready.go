package containertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

func (s suite) ready(t *testing.T) {
	spec := s.spec(t, untilKilled)
	s.mustStart(t, spec)
	calls := 0
	begin := time.Now()
	err := s.rt.WaitReady(t.Context(), spec.ID, func(context.Context) error {
		if calls++; calls < 20 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || calls != 20 {
		t.Errorf("WaitReady: %v after %d probes", err, calls)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("20 probes took %v", took)
	}
}

func (s suite) readyEndsWithInstance(t *testing.T) {
	spec := s.spec(t, `echo out; while ! [ -e go ]; do sleep 0.01; done; echo the disk is made of cheese >&2; exit 3`)
	s.mustStart(t, spec)
	probes := 0
	var ended time.Time
	err := s.rt.WaitReady(t.Context(), spec.ID, func(ctx context.Context) error {
		if probes++; probes < 5 {
			return errors.New("not yet")
		}
		writeFile(t, spec.Volume, "go")
		ended = time.Now()
		// A probe that hangs does not hide the end.
		<-ctx.Done()
		return ctx.Err()
	})
	if took := time.Since(ended); took > 2*time.Second {
		t.Errorf("it took %v to notice", took)
	}
	e := wantError(t, err, errs.Precondition, container.ReasonExited, spec.ID, "exit code 3")
	if !slices.Contains(e.Log, "the disk is made of cheese") {
		t.Errorf("its log: %q", e.Log)
	}
	// The same of one that ended long ago.
	err = s.rt.WaitReady(t.Context(), spec.ID, func(context.Context) error { return errors.New("refused") })
	wantError(t, err, errs.Precondition, container.ReasonExited)
}

func (s suite) readyEndsWithContext(t *testing.T) {
	spec := s.spec(t, untilKilled)
	s.mustStart(t, spec)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := s.rt.WaitReady(ctx, spec.ID, func(context.Context) error { return errors.New("connection refused by nobody") })
	wantError(t, err, errs.Unavailable, "", "connection refused by nobody")
	if in := s.inspect(t, spec.ID); in.State != container.Running {
		t.Errorf("afterwards: %+v", in)
	}
}

func (s suite) events(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	events := s.rt.Events(ctx)
	bystander := s.spec(t, untilKilled)
	s.mustStart(t, bystander)
	spec := s.spec(t, `while ! [ -e go ]; do sleep 0.01; done; exit 3`)
	s.mustStart(t, spec)
	writeFile(t, spec.Volume, "go")
	begin := time.Now()
	awaitEvent(t, events, spec.ID)
	// An event of its start may have come first; that of its end comes in time.
	for s.inspect(t, spec.ID).State != container.Exited {
		awaitEvent(t, events, spec.ID)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("its end was reported after %v", took)
	}
	cancel()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return
			}
		case <-timeout:
			t.Fatal("the channel is not closed when the context ends")
		}
	}
}

func awaitEvent(t *testing.T, events <-chan container.Event, id string) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatal("the channel was closed")
			}
			if e.ID == id {
				return
			}
		case <-timeout:
			t.Fatalf("no event of %s", id)
		}
	}
}
