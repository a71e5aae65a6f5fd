package control

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// Bounds of the queue: requests in all, and of one principal.
const (
	queueMax   = 1000
	queueOfOne = 100
)

// queueEvery is how often the queue is looked at when nothing changes: space of
// the pool comes back without a word.
const queueEvery = time.Second

// queue is where requests wait that a limit stands in the way of. Principals take
// turns, whatever each has asked for; of one, the first comes first.
type queue struct {
	mu    sync.Mutex
	lines map[string][]*ticket
	turns []string // principals with a line; the first is the next
	count int
	came  chan struct{} // takes word of a request that waits
}

func newQueue() *queue {
	return &queue{lines: map[string][]*ticket{}, came: make(chan struct{}, 1)}
}

// ticket is a request that waits.
type ticket struct {
	who, golden string
	// try tries again; an error for which scope is known keeps it waiting.
	try func() error
	// scope is what it waits for: see fullError.
	scope string
	done  chan error
	// trying: it is having its turn; gone: nobody waits for it any more meanwhile.
	trying, gone bool
}

// scopeOfError says what a request waits for that ended so; false if waiting is of
// no use.
func scopeOfError(err error) (scope string, full bool) {
	var limit fullError
	if errors.As(err, &limit) {
		return limit.scope, true
	}
	if err == nil {
		return "", false
	}
	reason := errs.As(err).Reason
	return scopeHost, reason == storage.ReasonPoolFull || reason == reasonNoPort
}

// admitWithin calls try, and again when there may be room, until it succeeds, fails
// for another reason, or the time is over. While others wait for the same, a
// request without time is refused, and one with time waits behind them.
func (q *queue) admitWithin(ctx context.Context, who, golden string, wait time.Duration, try func() error) error {
	var err error
	scope, full := scopeHost, true
	if n := q.ahead(golden); n > 0 {
		err = errs.New(errs.Exhausted, "QUEUED", "%d requests wait for room", n).WithHint("wait as well: --wait 5m")
	} else {
		err = try()
		scope, full = scopeOfError(err)
	}
	if !full || wait == 0 {
		return err
	}
	return q.wait(ctx, &ticket{who: who, golden: golden, try: try, scope: scope, done: make(chan error, 1)}, wait, err)
}

// ahead is how many wait for what a clone of the golden takes too.
func (q *queue) ahead(golden string) (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.count == 0 {
		return 0
	}
	for _, line := range q.lines {
		if scope := line[0].scope; scope == scopeHost || scope == scopeOf(golden) {
			n += len(line)
		}
	}
	return n
}

// waiting is how many wait.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}

// wait waits for a turn that succeeds; when the time is over it returns why.
func (q *queue) wait(ctx context.Context, t *ticket, within time.Duration, why error) error {
	if err := q.join(t); err != nil {
		return err
	}
	over := time.NewTimer(within)
	defer over.Stop()
	select {
	case err := <-t.done:
		return err
	case <-over.C:
		if q.leave(t) {
			return errs.New(errs.Exhausted, errs.As(why).Reason, "after %v of waiting: %w", within, why).WithHint("%s", errs.As(why).Hint)
		}
	case <-ctx.Done():
		if q.leave(t) {
			return ctx.Err()
		}
	}
	return <-t.done // its turn has just come
}

func (q *queue) join(t *ticket) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.count >= queueMax || len(q.lines[t.who]) >= queueOfOne {
		return errs.New(errs.Exhausted, "QUEUE_FULL", "%d requests wait for room, %d of them of %s: no more can", q.count, len(q.lines[t.who]), t.who).
			WithHint("try again later")
	}
	if len(q.lines[t.who]) == 0 {
		q.turns = append(q.turns, t.who)
	}
	q.lines[t.who] = append(q.lines[t.who], t)
	q.count++
	select {
	case q.came <- struct{}{}:
	default:
	}
	return nil
}

// leave takes a ticket out of its line; false if it is just being tried: then it
// ends with that.
func (q *queue) leave(t *ticket) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.trying {
		t.gone = true
		return false
	}
	if i := slices.Index(q.lines[t.who], t); i >= 0 {
		q.remove(t.who, i)
		return true
	}
	return false
}

// remove takes the ticket at i out of a line. The lock is held.
func (q *queue) remove(who string, i int) {
	q.lines[who] = slices.Delete(q.lines[who], i, i+1)
	q.count--
	if len(q.lines[who]) == 0 {
		delete(q.lines, who)
		q.turns = slices.DeleteFunc(q.turns, func(w string) bool { return w == who })
	}
}

// next returns the first ticket of the principal whose turn it is, but for those
// that are passed over: by principal, or by what a clone of the golden takes too.
// nil if there is none.
func (q *queue) next(passed map[string]bool) *ticket {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, who := range q.turns {
		t := q.lines[who][0]
		if !passed[who] && !passed[scopeHost] && !passed[scopeOf(t.golden)] {
			t.trying = true
			return t
		}
	}
	return nil
}

// tried notes what came of a try. One that is over takes the principal's turn;
// otherwise the ticket stays where it is, unless nobody waits for it any more.
func (q *queue) tried(t *ticket, err error) (full bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t.trying = false
	if t.scope, full = scopeOfError(err); full && !t.gone {
		return true
	}
	q.remove(t.who, 0)
	if i := slices.Index(q.turns, t.who); i >= 0 && !full {
		q.turns = append(slices.Delete(q.turns, i, i+1), t.who)
	}
	t.done <- err
	return full
}

// round gives turns until each principal that waits has had one that came to
// nothing. Whoever waits for what another one did not get comes after that one:
// room that appears in the middle of a round is not for the quicker.
func (q *queue) round() {
	passed := map[string]bool{}
	for t := q.next(passed); t != nil; t = q.next(passed) {
		if q.tried(t, t.try()) {
			passed[t.who], passed[t.scope] = true, true
		}
	}
}

// run gives turns when something has changed, until ctx ends; then whoever waits is
// told so.
func (q *queue) run(ctx context.Context, store *state.Store) {
	tick := time.NewTicker(queueEvery)
	defer tick.Stop()
	for {
		changed := store.Changed()
		if q.waiting() > 0 {
			q.round()
		}
		if q.waiting() == 0 {
			changed = nil // nobody cares
		}
		select {
		case <-ctx.Done():
			for t := q.next(nil); t != nil; t = q.next(nil) {
				q.tried(t, errStopping())
			}
			return
		case <-changed:
		case <-q.came:
		case <-tick.C:
		}
	}
}

// Queued is how many requests wait for room.
func (p *Plane) Queued() int { return p.queue.waiting() }
