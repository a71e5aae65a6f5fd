package control_test

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cloned-db/cloned/errs"
)

// holder is a client's hold of a clone.
type holder struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

// hold holds a clone until letGo, over restarts of the daemon, as the client
// library does. It returns once it does.
func (m *model) hold(within context.Context, name string) error {
	ctx, cancel := context.WithCancel(context.Background())
	h := &holder{cancel, make(chan struct{})}
	began := make(chan struct{})
	var once sync.Once
	var end error
	go func() {
		defer close(h.ended)
		for ctx.Err() == nil {
			end = m.plane().HoldClone(ctx, name, func() error { once.Do(func() { close(began) }); return nil })
			if errs.Is(end, errs.NotFound) || errs.Is(end, errs.Precondition) {
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}()
	select {
	case <-began:
		m.letGo(name)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.holders[name] = h
		return nil
	case <-h.ended:
	case <-within.Done():
	}
	cancel()
	<-h.ended
	return end
}

func (m *model) letGo(name string) {
	m.mu.Lock()
	h := m.holders[name]
	delete(m.holders, name)
	m.mu.Unlock()
	if h != nil {
		h.cancel()
		<-h.ended
	}
}

func (m *model) holding(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.holders[name] == nil {
		return false
	}
	select {
	case <-m.holders[name].ended:
		delete(m.holders, name)
		return false
	default:
		return true
	}
}

// holds is how many clones are held.
func (m *model) holds() (n int) {
	for _, name := range slices.Collect(maps.Keys(m.holders)) {
		if m.holding(name) {
			n++
		}
	}
	return n
}
