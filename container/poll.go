package container

import (
	"context"
	"time"

	"github.com/cloned-db/cloned/errs"
)

// The time between two probes grows: a database on a snapshot that was shut
// down cleanly answers after 15 to 30 ms, and what takes seconds need not be
// asked 500 times in each.
const (
	pollFirst = 2 * time.Millisecond
	pollLast  = 25 * time.Millisecond
)

// Poll is WaitReady for runtimes: it calls probe until it returns nil. If ended
// is closed first it returns exited's error, at once; if ctx ends,
// errs.Unavailable with probe's last error.
func Poll(ctx context.Context, ended <-chan struct{}, probe func(context.Context) error, exited func() error) error {
	// A probe that hangs must not outlast the instance.
	alive, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-ended:
			cancel()
		case <-alive.Done():
		}
	}()
	timer := time.NewTimer(pollFirst)
	defer timer.Stop()
	var last error
	begin := time.Now()
	for pause := pollFirst; ; {
		err := probe(alive)
		if err == nil {
			return nil
		}
		// A probe that was cut short says less than the one before it.
		if last == nil || alive.Err() == nil {
			last = err
		}
		if time.Since(begin) > time.Second {
			pause = min(pause*2, pollLast)
		}
		timer.Reset(pause)
		select {
		case <-alive.Done():
		case <-timer.C:
			continue
		}
		if ctx.Err() != nil {
			return errs.New(errs.Unavailable, "NOT_READY", "not ready after %v: %w", time.Since(begin).Round(time.Millisecond), last)
		}
		return exited()
	}
}
