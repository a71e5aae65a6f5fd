package docker

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/cloned-db/cloned/container"
)

// The engine is asked again for its events after a pause that grows from the
// first to the second.
const (
	eventsFirst = 100 * time.Millisecond
	eventsLast  = 2 * time.Second
)

// Events implements container.Runtime. After an interruption each instance is
// reported once, for anything may have happened meanwhile.
func (r *Runtime) Events(ctx context.Context) <-chan container.Event {
	out := make(chan container.Event)
	go func() {
		defer close(out)
		timer := time.NewTimer(0)
		defer timer.Stop()
		pause := eventsFirst
		for interrupted := false; ; interrupted = true {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			if r.report(ctx, out, interrupted) {
				pause = eventsFirst
			} else {
				pause = min(2*pause, eventsLast)
			}
			timer.Reset(pause)
		}
	}()
	return out
}

// eventsRenew is after how long the engine is asked for its events anew: one that
// has nothing to tell can't be told from one that can't be heard any more.
const eventsRenew = 5 * time.Minute

// report passes the engine's events on until ctx ends or the engine goes away, and
// no longer than eventsRenew. It says whether there was an answer at all.
func (r *Runtime) report(ctx context.Context, out chan<- container.Event, all bool) (answered bool) {
	ctx, cancel := context.WithTimeout(ctx, eventsRenew)
	defer cancel()
	messages, failed := r.api.Events(ctx, events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("type", string(events.ContainerEventType)), filters.Arg("label", labelInstance+"="+r.instance),
		filters.Arg("event", string(events.ActionDie)), filters.Arg("event", string(events.ActionOOM)),
		filters.Arg("event", string(events.ActionStart)), filters.Arg("event", string(events.ActionDestroy)),
	)})
	if all {
		// Asked for the events first, so that nothing falls between.
		list, err := r.List(ctx)
		if err != nil {
			return false
		}
		for _, in := range list {
			if !send(ctx, out, in.ID) {
				return true
			}
		}
	}
	for {
		select {
		case m := <-messages:
			answered = true
			if !send(ctx, out, m.Actor.Attributes[labelID]) {
				return true
			}
		case <-failed:
			return answered || all
		}
	}
}

// send says whether the event was taken before ctx ended.
func send(ctx context.Context, out chan<- container.Event, id string) bool {
	select {
	case out <- container.Event{ID: id}:
		return true
	case <-ctx.Done():
		return false
	}
}
