package control_test

import (
	"time"

	"pgregory.net/rapid"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
)

// faults are what goes wrong during a batch.
type faults struct {
	steps []stepFault
	// down are calls that fail until the batch is over.
	down []string
	// chaos are things that happen to the instance that is there then.
	chaos []chaos
	stop  chan struct{}
}

// stepFault breaks the nth to last time that a fault point is met.
type stepFault struct {
	point     string
	nth, last int
	how       string
	met       int
}

// chaos is what happens some time after the batch began.
type chaos struct {
	after time.Duration
	what  string
	which int
}

// downCalls are those that may fail for long.
var downCalls = []string{
	"driver.List", "runtime.List", "driver.Space", "runtime.Setup", "driver.Clone", "driver.Snapshot", "driver.Destroy",
	"driver.DestroySnapshot", "driver.Stat", "runtime.Start", "runtime.Stop", "runtime.Remove", "runtime.Inspect",
	"runtime.Thaw", "engine.Claim", "engine.Checkpoint", "engine.Prepare",
}

func drawFaults(t *rapid.T) *faults {
	f := &faults{}
	for range rapid.IntRange(0, 3).Draw(t, "faults") {
		s := stepFault{
			point: rapid.SampledFrom(control.FaultPoints()).Draw(t, "point"),
			nth:   rapid.IntRange(1, 4).Draw(t, "nth"),
			how:   rapid.SampledFrom([]string{"fail", "kill", "reboot"}).Draw(t, "how"),
		}
		if s.last = s.nth; s.how == "fail" {
			s.last += rapid.IntRange(0, 3).Draw(t, "more")
		}
		f.steps = append(f.steps, s)
	}
	for range rapid.IntRange(0, 1).Draw(t, "down") {
		f.down = append(f.down, rapid.SampledFrom(downCalls).Draw(t, "call"))
	}
	for range rapid.IntRange(0, 2).Draw(t, "chaos") {
		f.chaos = append(f.chaos, chaos{
			after: time.Duration(rapid.IntRange(0, 50).Draw(t, "after")) * time.Millisecond,
			what:  rapid.SampledFrom([]string{"crash", "out of memory", "remove", "plant", "reboot"}).Draw(t, "what"),
			which: rapid.IntRange(0, 99).Draw(t, "which"),
		})
	}
	return f
}

func (f *faults) begin(m *model) {
	m.t.Logf("faults %+v", *f)
	m.rig.setFault(func(point string) error { return f.at(m, point) })
	for _, call := range f.down {
		m.rig.world.Fail(call, errs.New(errs.Unavailable, "DOWN", "%s is down", call))
	}
	f.stop = make(chan struct{})
	go f.wreak(m)
}

func (f *faults) end(m *model) {
	f.stop <- struct{}{}
	m.rig.setFault(nil)
	for _, call := range f.down {
		m.rig.world.Fail(call, nil)
	}
}

// at is called at each fault point, once at a time.
func (f *faults) at(m *model, point string) error {
	for i := range f.steps {
		s := &f.steps[i]
		if s.point != point {
			continue
		}
		if s.met++; s.met < s.nth || s.met > s.last {
			continue
		}
		if s.how == "fail" {
			return errs.New(errs.Unavailable, "INJECTED", "%w at %s", errInjected, point)
		}
		if s.how == "reboot" {
			defer m.rig.world.Restart()
		}
		defer f.tell(m)
		return m.rig.die()
	}
	return nil
}

// tell has the daemon started again.
func (f *faults) tell(m *model) {
	select {
	case m.died <- struct{}{}:
	default:
	}
}

// wreak does what happens by itself.
func (f *faults) wreak(m *model) {
	for _, c := range f.chaos {
		time.Sleep(c.after)
		w := m.rig.world
		running := w.Running()
		switch {
		case c.what == "plant":
			w.Plant("g-orphanorph")
		case c.what == "reboot":
			w.Restart()
		case len(running) == 0:
		case c.what == "remove":
			w.Take(running[c.which%len(running)], false)
		default:
			w.Crash(running[c.which%len(running)], 1, c.what != "crash")
		}
	}
	<-f.stop
}
