package process

import (
	"context"

	"github.com/cloned-db/cloned/container"
)

// subscriber is somebody who reads Events. What has happened waits for him in
// pending, each instance once, so that none is lost and nobody waits for him.
type subscriber struct {
	pending []string
	wake    chan struct{}
}

// publish tells all subscribers that something happened to an instance.
func (r *Runtime) publish(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.subscribers {
		s.pending = append(s.pending, id)
		select {
		case s.wake <- struct{}{}:
		default: // he is awake
		}
	}
}

// take returns what has happened since it was last called.
func (r *Runtime) take(s *subscriber) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := s.pending
	s.pending = nil
	return taken
}

// Events implements container.Runtime.
func (r *Runtime) Events(ctx context.Context) <-chan container.Event {
	out := make(chan container.Event)
	s := &subscriber{wake: make(chan struct{}, 1)}
	r.mu.Lock()
	r.subscribers[s] = struct{}{}
	r.mu.Unlock()
	go func() {
		defer close(out)
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.subscribers, s)
		}()
		for {
			select {
			case <-s.wake:
			case <-ctx.Done():
				return
			}
			for _, id := range r.take(s) {
				select {
				case out <- container.Event{ID: id}:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}
