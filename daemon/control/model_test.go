package control_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// TestModel lets several clients do random things at once, on a daemon that dies
// and a world that fails, and compares what is there when all has settled with a
// plain model of what must be (model_world_test.go). Each client has clones and a
// golden of its own, so that it knows what they should be, and all share a
// golden. The clock is a test's own: nothing here takes time.
//
// Hours of it: see CONTRIBUTING.md.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		rapid.SyncTest(rt, func(rt *rapid.T) { runModel(modelT{rt, outerT{t}}) })
	})
}

func runModel(t modelT) {
	m := newModel(t)
	kinds := []string{"batch", "broken", "broken", "batch", "time"}
	t.Repeat(map[string]func(*rapid.T){"step": func(*rapid.T) {
		switch rapid.SampledFrom(kinds).Draw(t.T, "step") {
		case "batch":
			m.batch(nil)
		case "broken":
			m.batch(drawFaults(t.T))
		default:
			m.pass(time.Duration(rapid.SampledFrom([]int{1, 60, 13 * 60}).Draw(t.T, "minutes")) * time.Minute)
		}
	}})
	m.end()
}

// modelT is rapid's T where a testing.TB is wanted.
type modelT struct {
	*rapid.T
	outerT
}

type outerT struct{ testing.TB }

func (t modelT) Helper() { t.T.Helper() }

func (t modelT) Name() string { return t.TB.Name() }

// TempDir is one that goes with this run of the test, of thousands.
func (t modelT) TempDir() string {
	dir, err := os.MkdirTemp("", "cloned-model-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.TB.Error(err)
		}
	})
	return dir
}

const (
	// foreign is the dataset of the shared golden.
	foreign = "tank/replica"
	// operator is the client that has the shared golden.
	operator = "op"
	// passEvery is the time between passes: hours have to go by.
	passEvery = 2 * time.Minute
	// patience is how long things may take to settle: the longest wait before a
	// restart is a minute.
	patience = 20 * time.Minute
	// batchMax is longer than a batch takes, so that nothing is over within one
	// that should not be.
	batchMax = 55 * time.Minute
	// answerIn is how long a client waits for an answer.
	answerIn = 3 * time.Minute
	// tries is how often a patient client asks.
	tries = 4
)

// model is the clients, and what they know.
type model struct {
	t                 modelT
	rig               *rig
	keep, keepExpired time.Duration
	worlds            map[string][]*modelWorld // by client
	ops               int

	faults *faults
	died   chan struct{}

	mu      sync.Mutex // also for rig.plane
	holders map[string]*holder
}

func newModel(t modelT) *model {
	m := &model{t: t, worlds: map[string][]*modelWorld{}, died: make(chan struct{}, 1), holders: map[string]*holder{}}
	if rapid.Bool().Draw(t.T, "keep") {
		m.keep = 24 * time.Hour
		if rapid.Bool().Draw(t.T, "keep expired") {
			m.keepExpired = m.keep
		}
	}
	m.rig = newRig(t, func(c *control.Config) {
		c.ReconcileEvery = passEvery
		c.KeepFor, c.KeepExpired = m.keep, m.keepExpired > 0
		// Its own, so that no other test tries the same ports.
		c.Addr = fmt.Sprintf("127.%d.%d.1", 1+os.Getpid()>>8&0x7f, os.Getpid()&0xff)
	})
	t.Cleanup(func() {
		for name := range m.holders {
			m.letGo(name)
		}
	})
	for i := range rapid.IntRange(1, 3).Draw(t.T, "clients") {
		m.worlds[fmt.Sprint("c", i)] = []*modelWorld{newModelWorld()}
	}
	w := newModelWorld()
	m.worlds[operator] = []*modelWorld{w}
	m.rig.world.SetForeign(foreign, "r0")
	src := state.GoldenSource{Kind: "inplace", Dataset: foreign}
	if _, _, err := m.rig.plane.CreateGolden(t.Context(), control.CreateGoldenRequest{Name: shared, Source: src}, nil); err != nil {
		t.Fatal(err)
	}
	w.goldens[shared] = &modelGolden{contents: []string{prepared("r0")}}
	return m
}

func (m *model) plane() *control.Plane {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rig.plane
}

func (m *model) restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rig.restart()
}

// result is what a client saw of an operation.
type result struct {
	op    modelOp
	at    span
	tried int
	err   error
}

// refused is the reason for which nothing was done; "" if it was done.
func (r result) refused() (reason string, answered bool) {
	if r.err == nil {
		return "", true
	}
	reason = errs.As(r.err).Reason
	return reason, refusals[reason]
}

// batch has each client do some operations, one after the other, all clients at
// once. Without faults each is answered as it must be.
func (m *model) batch(f *faults) {
	m.calm()
	plans := map[string][]modelOp{}
	for _, client := range slices.Sorted(maps.Keys(m.worlds)) {
		for range rapid.IntRange(0, 4).Draw(m.t.T, client) {
			if m.ops++; client == operator {
				plans[client] = append(plans[client], drawSharedOp(m.t.T, m.ops))
			} else {
				plans[client] = append(plans[client], drawOp(m.t.T, client))
			}
		}
	}
	if f != nil {
		m.faults = f
		f.begin(m)
	}
	began := time.Now()
	results := m.perform(plans)
	m.settle()
	if took := time.Since(began); took > batchMax {
		m.t.Fatalf("a batch took %v", took)
	}
	shops := m.shops(plans[operator])
	for client, list := range results {
		for _, r := range list {
			m.t.Logf("%s: %s: %d times, %v", client, r.op.name, r.tried, r.err)
			m.note(client, r, shops, f != nil)
		}
	}
	m.compare()
}

// perform runs the clients, and the daemon again when it has died.
func (m *model) perform(plans map[string][]modelOp) map[string][]result {
	var wg sync.WaitGroup
	var mu sync.Mutex
	results := map[string][]result{}
	for client, ops := range plans {
		wg.Go(func() {
			list := m.client(ops)
			mu.Lock()
			defer mu.Unlock()
			results[client] = list
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for {
		select {
		case <-done:
			return results
		case <-m.died:
			m.restart()
		}
	}
}

// client does operations until one is not answered: what would follow can't be
// told.
func (m *model) client(ops []modelOp) (list []result) {
	began := time.Now()
	for _, op := range ops {
		if time.Since(began) > batchMax/2 {
			break
		}
		time.Sleep(time.Duration(op.pause) * time.Millisecond)
		r := result{op: op, at: span{from: time.Now()}}
		for r.tried < tries {
			ctx, cancel := context.WithTimeout(context.Background(), answerIn)
			r.err = op.do(ctx, m, m.plane())
			cancel()
			r.tried++
			if _, answered := r.refused(); answered || !op.patient || errs.As(r.err).Reason == brokenPromise {
				break
			}
			time.Sleep(time.Second << r.tried)
		}
		r.at.to = time.Now()
		list = append(list, r)
		if _, answered := r.refused(); !answered || op.last {
			break
		}
	}
	return list
}

// settle ends what fails, and waits until all is whole.
func (m *model) settle() {
	m.t.Helper()
	if m.faults != nil {
		m.faults.end(m)
		m.faults = nil
		select {
		case <-m.died: // rest will see to it
		default:
		}
	}
	m.rest()
	loose := false
	list, _, err := m.rig.plane.ListClones(m.t.Context(), control.CloneFilter{}, 0, "")
	m.rig.must(err)
	for _, c := range list {
		loose = loose || c.Held && !m.holding(c.Name)
	}
	if loose {
		time.Sleep(3 * control.HoldGrace)
		m.rest()
	}
}

// rest waits until all is whole.
func (m *model) rest() {
	m.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		if m.rig.dead() {
			m.restart()
		}
		time.Sleep(passEvery)
		err := m.rig.whole()
		if n := m.rig.plane.Waiting() - m.holds(); err == nil && n > 0 {
			err = fmt.Errorf("%d requests wait", n)
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("it does not come to rest: %v\n%s", err, m.records())
		}
	}
}

// calm passes the time until nothing is over soon.
func (m *model) calm() {
	for {
		now, soon := time.Now(), time.Time{}
		for _, worlds := range m.worlds {
			for _, at := range worlds[0].ends() {
				if at.After(now) && at.Before(now.Add(batchMax)) && at.After(soon) {
					soon = at
				}
			}
		}
		if soon.IsZero() {
			return
		}
		m.pass(soon.Sub(now) + time.Minute)
	}
}

// pass lets time pass.
func (m *model) pass(d time.Duration) {
	m.t.Helper()
	time.Sleep(d)
	m.settle()
	for _, worlds := range m.worlds {
		for _, w := range worlds {
			w.pass(time.Now(), m.keepExpired)
		}
	}
	m.compare()
}
