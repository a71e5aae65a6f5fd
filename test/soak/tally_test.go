package soak

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// tally collects what the clients see.
type tally struct {
	mu      sync.Mutex
	clones  int
	retries int
	errors  []string
	times   map[string][]time.Duration
}

func newTally() *tally { return &tally{errors: []string{}, times: map[string][]time.Duration{}} }

func (t *tally) made() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clones++
}

func (t *tally) retried() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.retries++
}

func (t *tally) uncured(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errors = append(t.errors, err.Error())
}

func (t *tally) took(operation string, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.times[operation] = append(t.times[operation], d)
}

// report is build/soak.json.
type report struct {
	Environment string `json:"environment"`
	Seconds     int    `json:"seconds"`
	Clones      int    `json:"clones"`
	Kills       int    `json:"kills"`
	Retries     int    `json:"retries"`
	// Errors are those that no retry has cured.
	Errors []string `json:"errors"`
	// Leaks is what there is more at the end than at the beginning, by kind.
	Leaks map[string]int `json:"leaks"`
	// Before and After are of the daemon at rest, just started.
	Before sample `json:"before"`
	After  sample `json:"after"`
	// Worked are of the daemon at work, each just before it was killed.
	Worked     []sample           `json:"worked"`
	Operations map[string]latency `json:"operations"`
}

// sample is what the daemon and its pool take.
type sample struct {
	Goroutines  int     `json:"goroutines"`
	Descriptors int     `json:"descriptors"`
	ResidentMiB float64 `json:"resident_mib"`
	PoolMiB     float64 `json:"pool_mib,omitempty"`
}

// latency is how long an operation took, retries included, in milliseconds.
type latency struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

func (t *tally) latencies() map[string]latency {
	out := map[string]latency{}
	for _, operation := range slices.Collect(maps.Keys(t.times)) {
		d := slices.Sorted(slices.Values(t.times[operation]))
		rank := func(p int) float64 { return float64(d[max(0, (len(d)*p+99)/100-1)].Microseconds()) / 1000 }
		out[operation] = latency{N: len(d), P50: rank(50), P99: rank(99)}
	}
	return out
}

// write prints the report and writes it to CLONED_SOAK_OUT.
func (r report) write(t *testing.T) {
	t.Helper()
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", data)
	if out := os.Getenv("CLONED_SOAK_OUT"); out != "" {
		if err := os.WriteFile(out, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
