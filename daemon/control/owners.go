package control

import (
	"context"
	"sync"
	"time"
)

// owners sees to it that one goroutine at a time works on a key. A key that is
// woken while its owner works is worked on once more.
type owners struct {
	ctx context.Context
	// work does all there is to do for a key and returns when to look again;
	// zero for not before it is woken. Its ctx ends with interrupt.
	work func(ctx context.Context, key string) time.Time
	now  func() time.Time

	mu     sync.Mutex
	closed bool
	active map[string]*owner
	timers map[string]*time.Timer
	wg     sync.WaitGroup
}

type owner struct {
	again  bool
	cancel context.CancelFunc
}

func newOwners(ctx context.Context, now func() time.Time, work func(context.Context, string) time.Time) *owners {
	return &owners{ctx: ctx, work: work, now: now, active: map[string]*owner{}, timers: map[string]*time.Timer{}}
}

// wake has the key's owner look.
func (o *owners) wake(key string) { o.rouse(key, true, false) }

// wakeIdle has the key's owner look unless it is at work, when it will see for
// itself.
func (o *owners) wakeIdle(key string) { o.rouse(key, false, false) }

// interrupt ends what the key's owner waits for, and has it look anew.
func (o *owners) interrupt(key string) { o.rouse(key, true, true) }

func (o *owners) rouse(key string, again, interrupt bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	if a := o.active[key]; a != nil {
		a.again = a.again || again
		if interrupt {
			a.cancel()
		}
		return
	}
	o.stopTimer(key)
	a := &owner{}
	o.active[key] = a
	o.wg.Add(1)
	go o.run(key, a, o.context(a))
}

// context makes the context of an owner's next turn. The lock is held.
func (o *owners) context(a *owner) context.Context {
	ctx, cancel := context.WithCancel(o.ctx)
	a.cancel, a.again = cancel, false
	return ctx
}

func (o *owners) run(key string, a *owner, ctx context.Context) {
	defer o.wg.Done()
	for {
		at := o.work(ctx, key)
		o.mu.Lock()
		a.cancel()
		if !a.again || o.closed {
			delete(o.active, key)
			if !at.IsZero() {
				o.setTimer(key, at)
			}
			o.mu.Unlock()
			return
		}
		ctx = o.context(a)
		o.mu.Unlock()
	}
}

// wakeAt has the key's owner look at the time, unless it is at work.
func (o *owners) wakeAt(key string, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.active[key] == nil {
		o.setTimer(key, at)
	}
}

func (o *owners) setTimer(key string, at time.Time) {
	o.stopTimer(key)
	if !o.closed {
		o.timers[key] = time.AfterFunc(at.Sub(o.now()), func() { o.wakeIdle(key) })
	}
}

func (o *owners) stopTimer(key string) {
	if t := o.timers[key]; t != nil {
		t.Stop()
		delete(o.timers, key)
	}
}

// close ends all work and waits for it. o.ctx must have ended.
func (o *owners) close() {
	o.mu.Lock()
	o.closed = true
	for key := range o.timers {
		o.stopTimer(key)
	}
	o.mu.Unlock()
	o.wg.Wait()
}

// start runs f as one more goroutine that close waits for; false after close.
func (o *owners) start(f func()) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	o.wg.Go(f)
	return true
}
