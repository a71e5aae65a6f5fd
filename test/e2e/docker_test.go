package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cloned-db/cloned/test/harness"
)

// dockerFaults are the ways in which the Docker Engine, or something between it
// and the daemon, fails and lies. Those that refuse let no clone be made; others
// may or may not.
var dockerFaults = []struct {
	name    string
	do      harness.DockerFault
	refuses bool
}{
	{"away", harness.DockerAway, true},
	{"half", harness.DockerHalf, true},
	{"nonsense", harness.DockerNonsense, true},
	{"no page", harness.DockerNoPage, true},
	{"fails", harness.DockerFails, true},
	{"slow", harness.DockerSlow, false},
	{"loses answers", harness.DockerLosesAnswers, true},
	{"lists none", harness.DockerListsNone, false},
	{"knows none", harness.DockerKnowsNone, false},
}

// throughProxy runs a test on each environment with Docker, with a proxy before it.
func throughProxy(t *testing.T, test func(t *testing.T, e *harness.Env, p *harness.DockerProxy)) {
	t.Helper()
	p := harness.NewDockerProxy(t)
	eachWith(t, "docker.host="+p.Host, func(t *testing.T, e *harness.Env) {
		if e.Runtime != "docker" {
			t.Skip("no Docker here")
		}
		test(t, e, p)
	})
}

// steadyClone makes one with data of its own; check proves that it serves that
// data, that nothing was destroyed, and that it is not failed.
func steadyClone(t *testing.T, e *harness.Env) (check func(when string)) {
	t.Helper()
	c := e.Create("steady")
	harness.ExecSQL(t, c.Endpoint.URL, "CREATE TABLE kept AS SELECT 42 AS x")
	before := e.Volumes()
	return func(when string) {
		t.Helper()
		begin := time.Now()
		now := e.Show("steady")
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%s: a read took %v", when, took)
		}
		if now.State == "CLONE_STATE_FAILED" || now.ID != c.ID || now.VolumeID() != c.VolumeID() {
			t.Errorf("%s: the clone is %s: %s", when, now.State, now.Message)
		}
		if n := harness.QueryInt(t, c.Endpoint.URL, "SELECT x FROM kept"); n != 42 {
			t.Errorf("%s: the clone lost its data: %d", when, n)
		}
		for _, volume := range before {
			if !slices.Contains(e.Volumes(), volume) {
				t.Errorf("%s: volume %s was destroyed", when, volume)
			}
		}
	}
}

// passes waits until a few more have begun.
func passes(t *testing.T, p *harness.DockerProxy, n int) {
	t.Helper()
	until := p.Passes() + n
	harness.Eventually(t, 2*time.Minute, "passes of the daemon", func() error {
		if have := p.Passes(); have < until {
			return fmt.Errorf("%d of %d", have, until)
		}
		return nil
	})
}

// eventuallyMade makes a clone as a client does that is told to try again.
func eventuallyMade(t *testing.T, e *harness.Env, name string) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, "a retry makes "+name, func() error {
		if r := e.Try("create", name); r.Code != 0 {
			return fmt.Errorf("exit %d: %s", r.Code, r.Stderr)
		}
		return nil
	})
}

// eventuallyReady waits until a clone is ready.
func eventuallyReady(t *testing.T, e *harness.Env, name string) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, name+" is ready", func() error {
		if now := e.Show(name); now.State != "CLONE_STATE_READY" {
			return fmt.Errorf("%s: %s", now.State, now.Message)
		}
		return nil
	})
}

// TestDockerFaults: whatever the Docker Engine does or says, no clone is failed and
// nothing is destroyed because of it; reads are answered; what can't be done says
// so, and is done when it is tried again later; and nothing is left over.
func TestDockerFaults(t *testing.T) {
	throughProxy(t, func(t *testing.T, e *harness.Env, p *harness.DockerProxy) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(1_000))
		check := steadyClone(t, e)
		for _, fault := range dockerFaults {
			begin := time.Now()
			e.Create("victim")
			p.Become(fault.do)
			p.Cut()
			if r := e.Try("create", "job"); fault.refuses && r.Code != 8 && !(fault.name == "fails" && r.Code == 1) {
				t.Errorf("%s: create: exit %d: %s", fault.name, r.Code, r.Stderr)
			}
			if r := e.Try("golden", "refresh", "shop"); fault.refuses && r.Code == 0 {
				t.Errorf("%s: a refresh succeeded", fault.name)
			}
			e.Try("reset", "victim")
			passes(t, p, 2)
			check(fault.name)
			p.Become(harness.DockerHonest)
			eventuallyMade(t, e, "job")
			eventuallyReady(t, e, "steady")
			check(fault.name + ", over")
			p.Become(fault.do)
			e.Try("rm", "victim")
			e.Try("rm", "job")
			p.Become(harness.DockerHonest)
			for _, name := range []string{"victim", "job"} {
				if r := e.Try("rm", name); r.Code != 0 && r.Code != 3 {
					t.Errorf("%s: rm %s: exit %d: %s", fault.name, name, r.Code, r.Stderr)
				}
			}
			e.Ctl("golden", "refresh", "shop")
			e.CheckNothingLeft()
			t.Logf("%s: %v", fault.name, time.Since(begin))
		}
	})
}

// TestDockerHangs: an Engine that takes calls and never answers holds up neither
// reads nor, when it is back, anything else.
func TestDockerHangs(t *testing.T) {
	throughProxy(t, func(t *testing.T, e *harness.Env, p *harness.DockerProxy) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(1_000))
		check := steadyClone(t, e)
		p.Become(harness.DockerHangs)
		made := make(chan harness.Result, 1)
		go func() { made <- e.Try("create", "job") }()
		check("it hangs")
		harness.Eventually(t, time.Minute, "status says so", func() error {
			if out := e.Ctl("status"); !containsAll(out, "reconciliation failed", "Docker") {
				return fmt.Errorf("%s", out)
			}
			return nil
		})
		check("it hangs on")
		if r := <-made; r.Code != 8 || !containsAll(r.Stderr, "start", "hint") {
			t.Errorf("create: exit %d: %s", r.Code, r.Stderr)
		}
		// What hangs now may hang on: it must not be waited for.
		p.Become(harness.DockerHonest)
		eventuallyMade(t, e, "job")
		e.Ctl("golden", "refresh", "shop")
		check("it is back")
		eventuallyReady(t, e, "steady")
		e.CheckNothingLeft()
	})
}

// TestStartWithoutDocker: the daemon starts while Docker is away, says so, answers
// reads, and goes on when it is back.
func TestStartWithoutDocker(t *testing.T) {
	throughProxy(t, func(t *testing.T, e *harness.Env, p *harness.DockerProxy) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(1_000))
		check := steadyClone(t, e)
		e.Stop()
		p.Become(harness.DockerAway)
		e.Start()
		check("without Docker")
		harness.Eventually(t, time.Minute, "status says so", func() error {
			if out := e.Ctl("status"); !containsAll(out, "reconciliation failed") {
				return fmt.Errorf("%s", out)
			}
			return nil
		})
		p.Become(harness.DockerHonest)
		eventuallyMade(t, e, "after")
		check("Docker is back")
		e.CheckNothingLeft()
	})
}

// TestContainerRemoved removes containers behind the daemon's back: each is made
// again on its volume and port.
func TestContainerRemoved(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		if e.Runtime != "docker" {
			t.Skip("no Docker here")
		}
		e.Start()
		e.GoldenFromDirectory("shop", scale(1_000))
		check := steadyClone(t, e)
		for n := 1; n <= 2; n++ {
			e.RemoveContainer(e.Show("steady"))
			harness.Eventually(t, time.Minute, "it is made again", func() error {
				if now := e.Show("steady"); now.State != "CLONE_STATE_READY" || now.Restarts != n {
					return fmt.Errorf("%s after %d restarts: %s", now.State, now.Restarts, now.Message)
				}
				return nil
			})
			check("made again")
		}
		e.CheckNothingLeft()
	})
}
