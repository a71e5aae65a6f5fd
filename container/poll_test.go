package container

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cloned-db/cloned/errs"
)

func noExit() error { return errors.New("exited was called") }

func TestPollProbesUntilItAnswers(t *testing.T) {
	calls := 0
	err := Poll(t.Context(), nil, func(context.Context) error {
		if calls++; calls < 5 {
			return errors.New("not yet")
		}
		return nil
	}, noExit)
	if err != nil || calls != 5 {
		t.Fatalf("%v after %d calls", err, calls)
	}
}

// TestPollEndsWithTheInstance cuts a probe that hangs short.
func TestPollEndsWithTheInstance(t *testing.T) {
	gone := errors.New("gone")
	ended := make(chan struct{})
	calls := 0
	err := Poll(t.Context(), ended, func(ctx context.Context) error {
		if calls++; calls == 2 {
			close(ended)
		}
		if calls < 2 {
			return errors.New("not yet")
		}
		<-ctx.Done()
		return ctx.Err()
	}, func() error { return gone })
	if !errors.Is(err, gone) {
		t.Fatalf("got %v", err)
	}
}

func TestPollEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	refused := errors.New("connection refused")
	err := Poll(ctx, nil, func(ctx context.Context) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return refused
	}, noExit)
	if !errs.Is(err, errs.Unavailable) || !errors.Is(err, refused) {
		t.Fatalf("got %v", err)
	}
}
