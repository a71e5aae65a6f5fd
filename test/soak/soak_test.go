package soak

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

const (
	golden  = "shop"
	clients = 8
	// orders is how large the database is: the work is not to be with it.
	orders = 500
	// What may be more at the end: what the runtime and the filesystem keep for
	// themselves.
	moreGoroutines, moreDescriptors = 4, 4
	moreResidentMiB, morePoolMiB    = 16, 4
	// The last 4,096 events of clones are there for watchers, at the beginning there
	// are none: 9 MiB of small ones, and as much again until they are collected.
	eventsMiB = 16
)

// TestSoak is what "make soak" runs.
func TestSoak(t *testing.T) {
	environment := os.Getenv("CLONED_SOAK")
	if environment == "" {
		if strings.Contains(os.Getenv("CLONED_REQUIRE"), "soak") {
			t.Fatal("CLONED_SOAK names no environment")
		}
		t.Skip("CLONED_SOAK names no environment: see make soak")
	}
	driver, runtime, _ := strings.Cut(environment, "+")
	e := harness.New(t, driver, runtime, "")
	e.Start()
	e.GoldenFromDirectory(golden, orders)
	s := &soak{t: t, e: e, tally: newTally(), report: report{Environment: environment, Leaks: map[string]int{}}}
	s.count()
	// What is made once and kept is made before the first look.
	s.work(clients, time.Second, time.Hour)
	s.tally = newTally()
	s.report.Kills, s.report.Worked = 0, nil

	before := e.Remains()
	s.report.Before = s.rest(0)
	began := time.Now()
	s.work(clients, setting(t, "CLONED_SOAK_FOR", 30*time.Minute), setting(t, "CLONED_SOAK_KILL", time.Minute))
	s.report.Seconds = int(time.Since(began).Seconds())
	s.report.After = s.rest(s.report.Before.PoolMiB + morePoolMiB)
	s.judge(before, e.Remains())
}

func setting(t *testing.T, name string, standard time.Duration) time.Duration {
	t.Helper()
	if os.Getenv(name) == "" {
		return standard
	}
	d, err := time.ParseDuration(os.Getenv(name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return d
}

type soak struct {
	t      *testing.T
	e      *harness.Env
	tally  *tally
	report report
	orders int64
}

// count finds out what is in the golden.
func (s *soak) count() {
	s.t.Helper()
	c := s.e.Create("count")
	s.orders = harness.QueryInt(s.t, c.Endpoint.URL, "SELECT count(*) FROM orders")
	s.e.Ctl("rm", "count")
}

// work has clients work for a time, and kills the daemon every while.
func (s *soak) work(n int, d, killEvery time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i := range n {
		api, err := client.Dial(ctx, "unix://"+s.e.Socket)
		if err != nil {
			s.t.Fatal(err)
		}
		w := &worker{name: fmt.Sprintf("soak-%d", i), api: api, tally: s.tally, orders: s.orders}
		wg.Go(func() {
			w.run(ctx)
			if err := api.Close(); err != nil {
				s.tally.uncured(err)
			}
		})
	}
	ticker := time.NewTicker(killEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.report.Worked = append(s.report.Worked, s.sample())
			s.e.Kill()
			s.report.Kills++
			s.e.Start()
		}
	}
}

func (s *soak) sample() sample {
	s.t.Helper()
	return sample{
		Goroutines:  int(s.e.Metric("go_goroutines")),
		Descriptors: int(s.e.Metric("process_open_fds")),
		ResidentMiB: s.e.Metric("process_resident_memory_bytes") / (1 << 20),
	}
}

// rest looks at the daemon when it has nothing to do, just started, and at its
// pool once what was destroyed has been given back: that takes the filesystem a
// while, so it waits for the pool to hold no more than most (0: for it to stay as
// it is).
func (s *soak) rest(most float64) sample {
	s.t.Helper()
	s.e.CheckNothingLeft()
	s.e.Stop()
	s.e.Start()
	out := s.sample()
	deadline := time.Now().Add(2 * time.Minute)
	for same := 0; same < 3 && time.Now().Before(deadline); {
		used := float64(s.e.PoolUsed()) / (1 << 20)
		if same++; used != out.PoolMiB || most > 0 && used > most {
			same = 0
		}
		out.PoolMiB = used
		time.Sleep(3 * time.Second) // the filesystem works in the background and says no word
	}
	return out
}

// judge says what is not as it should be at the end.
func (s *soak) judge(before, after map[string][]string) {
	s.t.Helper()
	r := &s.report
	for kind, things := range after {
		r.Leaks[kind] = 0
		for _, thing := range things {
			if !slices.Contains(before[kind], thing) {
				r.Leaks[kind]++
				s.t.Errorf("left over: %s %s", kind, thing)
			}
		}
	}
	leak := func(kind string, by, allowed float64) {
		if r.Leaks[kind] = 0; by > allowed {
			r.Leaks[kind] = int(by)
			s.t.Errorf("%s: %.0f more than at the beginning", kind, by)
		}
	}
	leak("goroutines", float64(r.After.Goroutines-r.Before.Goroutines), moreGoroutines)
	leak("descriptors", float64(r.After.Descriptors-r.Before.Descriptors), moreDescriptors)
	leak("resident_mib", r.After.ResidentMiB-r.Before.ResidentMiB, moreResidentMiB+eventsMiB)
	leak("pool_mib", r.After.PoolMiB-r.Before.PoolMiB, morePoolMiB)
	// The same at work: of the lives of the daemon, the last against the first.
	if third := len(r.Worked) / 3; third > 0 {
		first, last := median(r.Worked[:third]), median(r.Worked[len(r.Worked)-third:])
		leak("resident_mib_at_work", last-first, moreResidentMiB)
	}
	r.Clones, r.Retries, r.Errors, r.Operations = s.tally.clones, s.tally.retries, s.tally.errors, s.tally.latencies()
	for _, err := range r.Errors {
		s.t.Errorf("no retry cured: %s", err)
	}
	if r.Clones == 0 {
		s.t.Error("no clone was made")
	}
	r.write(s.t)
}

func median(samples []sample) float64 {
	var all []float64
	for _, one := range samples {
		all = append(all, one.ResidentMiB)
	}
	slices.Sort(all)
	return all[len(all)/2]
}
