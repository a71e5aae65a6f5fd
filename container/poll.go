package container

import (
	"context"
	"time"

	"github.com/cloned-db/cloned/errs"
)

// Readiness is looked for often at first, when it is about to come, and less
// often later.
const (
	pollFirst = 2 * time.Millisecond
	pollLast  = 25 * time.Millisecond
)

// Poll is WaitReady for runtimes: it calls probe until it returns nil. If ended
// is closed first it returns exited's error; if ctx ends, errs.Unavailable with
// probe's last error.
func Poll(ctx context.Context, ended <-chan struct{}, probe func(context.Context) error, exited func() error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	pause := pollFirst
	var last error
	for begin := time.Now(); ; {
		select {
		case <-ended:
			return exited()
		case <-ctx.Done():
			if last == nil {
				last = ctx.Err()
			}
			return errs.New(errs.Unavailable, "NOT_READY", "not ready after %v: %w", time.Since(begin).Round(time.Millisecond), last)
		case <-timer.C:
		}
		if last = probe(ctx); last == nil {
			return nil
		}
		if time.Since(begin) > time.Second {
			pause = min(pause*2, pollLast)
		}
		timer.Reset(pause)
	}
}
