package crash

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/matrix"
)

// ways to break an operation, by the point at which it happens.
var ways = map[string][]struct{ name, how string }{
	".before": {{"fails before", fail}},
	".after":  {{"fails after", fail}, {"killed", die}},
}

const numberOfWays = 3

// looks are the steps that change nothing: each is broken in the first operation
// that has it. On fakes it is in each (daemon/control).
var looks = []string{"pool.space", "volume.stat", "instance.inspect"}

// workers is how many daemons are broken at once: most of the time is spent in
// waiting for databases to start and to stop.
const workers = 3

// TestCrashMatrix breaks each operation at each of its steps, in all ways.
func TestCrashMatrix(t *testing.T) {
	driver, runtime := environment(t)
	m := &tests{t: t, driver: driver, runtime: runtime, worlds: make(chan *world, workers), met: map[string]bool{}}
	for range workers {
		m.worlds <- nil // made when it is needed
	}
	chosen := operations()
	if driver == "zfs" {
		chosen = slices.DeleteFunc(chosen, func(op operation) bool { return !op.zfs })
	}
	t.Run("operations", func(t *testing.T) {
		for _, op := range chosen {
			t.Run(op.name, func(t *testing.T) {
				t.Parallel()
				m.breakOperation(t, op)
			})
		}
	})
	if int(m.begun.Load()) < len(chosen) {
		t.Log("not all operations were asked for: nothing is recorded")
		return
	}
	points := 0
	for _, point := range control.FaultPoints() {
		switch {
		case !m.met[point] && driver != "zfs":
			t.Errorf("no operation was broken at %s", point)
		case m.met[point] && strings.HasSuffix(point, ".before"):
			points++
		}
	}
	matrix.Record(t, driver, m.count.Entry(points, numberOfWays))
}

func environment(t *testing.T) (driver, runtime string) {
	t.Helper()
	name := os.Getenv("CLONED_CRASH")
	if name == "" && !strings.Contains(os.Getenv("CLONED_REQUIRE"), "crash") {
		t.Skip("CLONED_CRASH names no environment")
	}
	driver, runtime, ok := strings.Cut(name, "+")
	if !ok {
		t.Fatalf("CLONED_CRASH: %q is not DRIVER+RUNTIME", name)
	}
	return driver, runtime
}

// tests is one run of the matrix.
type tests struct {
	t               *testing.T
	driver, runtime string
	worlds          chan *world
	count           matrix.Count
	begun           atomic.Int64

	mu  sync.Mutex
	met map[string]bool // the points that something was broken at
}

func (m *tests) breakOperation(t *testing.T, op operation) {
	m.begun.Add(1)
	w := <-m.worlds
	defer func() { m.worlds <- w }()
	if w == nil {
		w = newWorld(m.t, m.driver, m.runtime)
	}
	began := time.Now()
	reached := w.learn(t, op)
	if len(reached) == 0 {
		t.Fatal("it reaches no point")
	}
	for i, point := range reached {
		dot := strings.LastIndex(point, ".")
		step, nth := point[:dot], count(reached[:i+1], point)
		if m.isEnough(op, point, step) {
			continue
		}
		for _, way := range ways[point[dot:]] {
			var met bool
			passed := t.Run(fmt.Sprintf("%s#%d %s", step, nth, way.name), func(t *testing.T) {
				met = w.breakAt(t, op, fault{point, nth, way.how})
			})
			m.note(point, met, passed)
		}
	}
	t.Logf("%d points in %v", len(reached), time.Since(began).Round(time.Millisecond))
}

// isEnough says whether the operation need not be broken at the point.
func (m *tests) isEnough(op operation, point, step string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.met[point] && slices.Contains(looks, step) || op.only != nil && !slices.Contains(op.only, step)
}

// note counts a run in which the fault happened, or that failed otherwise.
func (m *tests) note(point string, met, passed bool) {
	if !met && passed {
		return
	}
	m.count.Add(passed)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.met[point] = true
}

// learn returns the points that the operation reaches, without what passes do at
// any time, unless it is about them.
func (w *world) learn(t *testing.T, op operation) []string {
	defer w.begin(t, op)()
	w.arm(fault{})
	w.must(op.do(w))
	w.settle()
	reached := w.disarm()
	w.must(op.done(w))
	return slices.DeleteFunc(reached, func(point string) bool {
		return strings.HasPrefix(point, "pass.") && op.name != "pass"
	})
}

// begin makes what the operation needs. The returned function removes all that
// there is afterwards.
func (w *world) begin(t *testing.T, op operation) (end func()) {
	t.Helper()
	if w.broken {
		t.Fatal("what a case before this one left could not be removed")
	}
	back, whole := w.In(t), w.t
	w.t, w.died, w.broken = t, false, true
	var cancel context.CancelFunc
	w.ctx, cancel = context.WithTimeout(context.Background(), 4*within)
	if op.prepare != nil {
		w.must(op.prepare(w))
		w.settle()
	}
	return func() {
		defer func() {
			back()
			cancel()
			w.t, w.ctx = whole, context.Background()
		}()
		w.disarm()
		if w.Ended() {
			w.again()
		}
		w.must(w.retry(w.DeleteAll))
		w.settle()
		w.broken = false
	}
}

// settle waits until all is whole and nothing is left over.
func (w *world) settle() {
	w.t.Helper()
	if err := w.eventually(func() error { return w.settled(may) }); err != nil {
		w.t.Fatalf("not settled: %v\n%s", err, w.LogTail(60))
	}
}

// breakAt breaks the operation once, and says whether it came to that: what a
// pass does may come earlier or later than it did before.
func (w *world) breakAt(t *testing.T, op operation, what fault) bool {
	defer w.begin(t, op)()
	met := w.arm(what)
	err := op.do(w)
	select {
	case <-met:
	case <-time.After(2 * passEvery): // what is done in the background may come later
	}
	select {
	case <-met:
	default:
		w.disarm()
		w.must(w.retry(func() error { return op.do(w) }))
		t.Skip("not met")
		return false
	}
	if what.how == die {
		w.again()
	} else if err != nil && !retryable(err) {
		t.Errorf("the client is told that a retry is of no use: %v", err)
	}
	w.settle()
	if err := w.retry(func() error { return op.do(w) }); err != nil {
		t.Fatalf("the client's retry: %v\n%s", err, w.LogTail(60))
	}
	if err := op.done(w); err != nil {
		t.Fatalf("it is not done: %v\n%s", err, w.LogTail(60))
	}
	return true
}

// retry tries as clients do, as long as they are told that it may help.
func (w *world) retry(do func() error) (err error) {
	for deadline := time.Now().Add(within); time.Now().Before(deadline); {
		if err = do(); err == nil || !retryable(err) {
			return err
		}
		time.Sleep(50 * time.Millisecond) // a client's pause between tries
	}
	return err
}

func retryable(err error) bool { return errs.As(err).Retryable }
