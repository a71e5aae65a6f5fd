package client

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// CreateAndWait makes a clone, or finds the one that the same request made
// before, and returns it when it is ready, with its credentials. Because a
// create is idempotent by the clone's name, it is sent again for as long as
// WithRetryFor says when the daemon does not answer or a retry can help.
// created is false if the clone was there before the first attempt, as far as
// that can be known.
func (c *Client) CreateAndWait(ctx context.Context, req *clonedv1.CreateCloneRequest) (clone *clonedv1.Clone, created bool, err error) {
	req = proto.CloneOf(req)
	req.NoWait = false
	err = c.retry(ctx, func() error {
		resp, err := c.Clones.CreateClone(ctx, req)
		if err != nil {
			return err
		}
		clone, created = resp.GetClone(), created || resp.GetCreated()
		return nil
	})
	if err != nil || clone.GetState() == clonedv1.CloneState_CLONE_STATE_READY {
		return clone, created, err
	}
	// It was there already, and is being started again.
	clone, err = c.WaitState(ctx, req.GetName(), clonedv1.CloneState_CLONE_STATE_READY)
	return clone, created, err
}

// WaitState returns the clone once it is in one of the states. It waits through
// the daemon's watch; only while there is none to be had does it ask now and then.
//
// errs.NotFound if the clone is not there or is deleted meanwhile;
// errs.Precondition with reason CLONE_FAILED if it fails, unless that is waited
// for; the context's end is errs.Unavailable and wraps the context's error.
func (c *Client) WaitState(ctx context.Context, name string, states ...clonedv1.CloneState) (*clonedv1.Clone, error) {
	pause := firstPause
	for {
		clone, err := c.getRetrying(ctx, name)
		switch {
		case err != nil:
			return nil, err
		case slices.Contains(states, clone.GetState()):
			return clone, nil
		case clone.GetState() == clonedv1.CloneState_CLONE_STATE_FAILED:
			return nil, errs.New(errs.Precondition, "CLONE_FAILED", "clone %s has failed: %s", name, clone.GetMessage()).
				WithHint("read its log (clonectl logs %s), then reset or delete it", name)
		}
		err = c.waitChange(ctx, clone)
		switch {
		case err == nil:
			pause = firstPause
		case !errs.As(err).Retryable || !sleep(ctx, pause):
			return nil, err
		default:
			pause = nextPause(pause)
		}
	}
}

func (c *Client) getRetrying(ctx context.Context, name string) (clone *clonedv1.Clone, err error) {
	err = c.retry(ctx, func() error {
		resp, err := c.Clones.GetClone(ctx, &clonedv1.GetCloneRequest{Name: name})
		clone = resp.GetClone()
		return err
	})
	return clone, err
}

// waitChange returns nil when the clone has changed since it was read. An error
// that can be retried, such as that of a watch that does not reach so far back,
// says nothing of it.
func (c *Client) waitChange(ctx context.Context, clone *clonedv1.Clone) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Clones.WatchClones(ctx, &clonedv1.WatchClonesRequest{
		Filter:        &clonedv1.CloneFilter{Golden: clone.GetGolden()},
		AfterRevision: clone.GetRevision(),
	})
	if err != nil {
		return err
	}
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errs.New(errs.Unavailable, "WATCH_ENDED", "the daemon ended the watch")
		}
		if err != nil {
			return err
		}
		if event.GetClone().GetId() == clone.GetId() {
			return nil
		}
	}
}

// Pauses between attempts double from the first to the longest.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
)

func nextPause(pause time.Duration) time.Duration { return min(2*pause, longestPause) }

// retry calls f until it succeeds, a retry can't help, or time is up.
func (c *Client) retry(ctx context.Context, f func() error) error {
	deadline := time.Now().Add(c.retryFor)
	for pause := firstPause; ; pause = nextPause(pause) {
		err := f()
		if err == nil || !errs.As(err).Retryable || time.Now().After(deadline) || !sleep(ctx, pause) {
			return err
		}
	}
}

// sleep waits for about the pause: many agents that lost the daemon at once
// must not come back at once. It returns false as soon as ctx ends.
func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause/2 + rand.N(pause))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Logs writes a clone's database log to w: the last tail lines, or all with 0,
// and with follow what comes until the database ends or ctx does.
func (c *Client) Logs(ctx context.Context, name string, tail int, follow bool, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Clones.GetCloneLogs(ctx, &clonedv1.GetCloneLogsRequest{Name: name, Tail: int32(tail), Follow: follow})
	if err != nil {
		return err
	}
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(resp.GetData()); err != nil {
			return err
		}
	}
}

// StateName returns a state's name as people write it: "ready".
func StateName(s clonedv1.CloneState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "CLONE_STATE_"))
}
