// Package matrix keeps the record of what the crash tests have run: one file for
// all environments, to which each adds its own entry.
package matrix

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"sync/atomic"
	"testing"
)

// Variable is the environment variable that names the file; without it nothing is
// written.
const Variable = "CLONED_CRASH_MATRIX"

// Entry is what was run in one environment.
type Entry struct {
	// Points is how many steps were broken, Ways in how many ways.
	Points int `json:"points"`
	Ways   int `json:"ways"`
	// Runs counts the operations that were broken at a point and looked at
	// afterwards, Failures those after which something was not as it must be.
	Runs     int `json:"runs"`
	Failures int `json:"failures"`
}

// Count counts runs, from several goroutines.
type Count struct{ runs, failures atomic.Int64 }

// Add counts a run.
func (c *Count) Add(passed bool) {
	c.runs.Add(1)
	if !passed {
		c.failures.Add(1)
	}
}

// Entry returns what was counted.
func (c *Count) Entry(points, ways int) Entry {
	return Entry{Points: points, Ways: ways, Runs: int(c.runs.Load()), Failures: int(c.failures.Load())}
}

// Record puts the entry of an environment into the file that Variable names.
func Record(t testing.TB, environment string, e Entry) {
	t.Helper()
	t.Logf("%s: %d points, %d ways, %d runs, %d failures", environment, e.Points, e.Ways, e.Runs, e.Failures)
	path := os.Getenv(Variable)
	if path == "" {
		return
	}
	if err := put(path, environment, e); err != nil {
		t.Errorf("%s=%s: %v", Variable, path, err)
	}
}

func put(path, environment string, e Entry) error {
	all := map[string]Entry{}
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	all[environment] = e
	if raw, err = json.MarshalIndent(all, "", "  "); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(raw, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
