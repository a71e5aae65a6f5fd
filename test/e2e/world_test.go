package e2e

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/test/harness"
)

// statusSays waits until the daemon's status says all of it, or, with not, none.
func statusSays(t *testing.T, e *harness.Env, not bool, parts ...string) {
	t.Helper()
	harness.Eventually(t, time.Minute, fmt.Sprintf("status on %q", parts), func() error {
		if out := e.Ctl("status"); containsAll(out, parts...) == not {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
}

// TestPoolAway takes the pool away while the daemon runs, and lets it start
// without: no clone is failed, nothing is swept, the daemon says what is wrong,
// and when the pool is back all is as before.
func TestPoolAway(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		if e.Driver == "dir" {
			t.Skip("the pool of plain directories is the host's own filesystem")
		}
		e.Start()
		e.GoldenFromDirectory("shop", scale(1_000))
		c := e.Create("steady")
		harness.ExecSQL(t, c.Endpoint.URL, "CREATE TABLE kept AS SELECT 42 AS x; CHECKPOINT")
		e.Create("asleep")
		e.Ctl("suspend", "asleep")
		if e.Driver == "zfs" { // which is not exported while something runs on it
			e.Ctl("suspend", "steady")
		}
		before := e.Volumes()
		back := e.TakePoolAway()
		statusSays(t, e, false, "reconciliation failed")
		if r := e.Try("create", "late"); r.Code != 8 || !containsAll(r.Stderr, "hint") {
			t.Errorf("create: exit %d: %s", r.Code, r.Stderr)
		}
		if r := e.Try("golden", "refresh", "shop"); r.Code != 8 {
			t.Errorf("refresh: exit %d: %s", r.Code, r.Stderr)
		}
		if r := e.Try("resume", "asleep"); r.Code == 0 {
			t.Error("a clone without its volume was resumed")
		}
		for _, c := range e.List() {
			if c.State == "CLONE_STATE_FAILED" {
				t.Errorf("%s is failed: %s", c.Name, c.Message)
			}
		}
		back()
		statusSays(t, e, true, "reconciliation failed")
		if after := e.Volumes(); !slices.Equal(after, before) {
			t.Errorf("volumes before %v, after %v", before, after)
		}
		harness.Eventually(t, time.Minute, "asleep is resumed", func() error {
			if r := e.Try("resume", "asleep"); r.Code != 0 {
				return fmt.Errorf("exit %d: %s", r.Code, r.Stderr)
			}
			return nil
		})
		e.Ctl("suspend", "asleep")
		if e.Driver == "zfs" {
			e.Ctl("resume", "steady")
		}
		eventuallyReady(t, e, "steady")
		if n := harness.QueryInt(t, e.Show("steady").Endpoint.URL, "SELECT x FROM kept"); n != 42 {
			t.Errorf("steady lost its data: %d", n)
		}
		eventuallyMade(t, e, "late")
		e.CheckNothingLeft()
	})
}

// TestStartWithoutPool: a daemon whose pool is not there does not make another one
// in its place, of which it would say that all volumes have vanished.
func TestStartWithoutPool(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(1_000))
		e.Create("asleep")
		e.Ctl("suspend", "asleep")
		before := e.Volumes()
		e.Stop()
		back := e.MissingPool()
		err := e.TryStart()
		if err == nil {
			t.Fatal("it started without its pool")
		}
		if log := e.LogTail(5); !containsAll(log, "hint") && !containsAll(log, "mount") {
			t.Errorf("the refusal says nothing of use: %s", log)
		}
		back()
		e.Start()
		if after := e.Volumes(); !slices.Equal(after, before) {
			t.Errorf("volumes before %v, after %v", before, after)
		}
		if now := e.Show("asleep"); now.State != "CLONE_STATE_SUSPENDED" {
			t.Errorf("asleep is %s: %s", now.State, now.Message)
		}
		e.Ctl("resume", "asleep")
		e.CheckNothingLeft()
	})
}

// TestPoolDegraded: a pool that has lost a disk is told of, and works.
func TestPoolDegraded(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		if e.Driver != "zfs" {
			t.Skip("only ZFS tells")
		}
		e.Start()
		e.GoldenFromDirectory("shop", scale(1_000))
		e.Create("before")
		heal := e.DegradePool()
		statusSays(t, e, false, "is not well: DEGRADED")
		e.Create("meanwhile")
		eventuallyReady(t, e, "before")
		heal()
		statusSays(t, e, true, "is not well")
		e.CheckNothingLeft()
	})
}

// TestStateDamaged: from a store that was cut short, emptied, flipped a bit in or
// written by a newer cloned the daemon does not start, and touches nothing.
func TestStateDamaged(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(1_000))
		c := e.Create("steady")
		harness.ExecSQL(t, c.Endpoint.URL, "CREATE TABLE kept AS SELECT 42 AS x")
		footprint := e.Footprint()
		for what, damage := range map[string]func([]byte) []byte{
			"cut":   func(raw []byte) []byte { return raw[:len(raw)/2] },
			"empty": func([]byte) []byte { return nil },
			// In each page that has it, for some of them are free.
			"flipped": func(raw []byte) []byte {
				return bytes.ReplaceAll(raw, []byte(`"name":"steady"`), []byte(`"name":"stdady"`))
			},
			"another file": func(raw []byte) []byte { return bytes.Repeat([]byte("nonsense"), len(raw)/8) },
		} {
			e.Stop()
			back := e.Damage(damage)
			damaged, err := os.ReadFile(e.StateFile())
			if err != nil {
				t.Fatal(err)
			}
			if err := e.TryStart(); err == nil {
				t.Fatalf("%s: it started", what)
			}
			if log := e.LogTail(8); !containsAll(log, "state.db", "damaged", "backup") {
				t.Errorf("%s: the refusal says %s", what, log)
			}
			if left, err := os.ReadFile(e.StateFile()); err != nil || !bytes.Equal(left, damaged) {
				t.Errorf("%s: the file was touched: %v", what, err)
			}
			if n := harness.QueryInt(t, c.Endpoint.URL, "SELECT x FROM kept"); n != 42 {
				t.Errorf("%s: the clone reads %d", what, n)
			}
			back()
			e.Start()
			if now := e.Footprint(); now != footprint {
				t.Errorf("%s: before: %s\nafter: %s", what, footprint, now)
			}
		}
		e.CheckNothingLeft()
	})
}

// TestImageDeleted deletes the image that a golden was prepared with: clones that
// run are not touched; making one says which image is missing, and works when that
// very image is back.
func TestImageDeleted(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		if e.Runtime != "docker" {
			t.Skip("no Docker here")
		}
		e.Start()
		image, remove, restore := e.DeletableImage()
		e.Ctl("golden", "create", "shop", "--from-directory", e.DataDirectory(scale(1_000)), "--image", image)
		c := e.Create("asleep")
		harness.ExecSQL(t, c.Endpoint.URL, "CREATE TABLE kept AS SELECT 42 AS x; CHECKPOINT")
		e.Ctl("suspend", "asleep")
		remove()
		r := e.Try("create", "late")
		if r.Code != 5 || !containsAll(r.Stderr, image, "start", "docker load", "refresh golden shop") {
			t.Errorf("create: exit %d: %s", r.Code, r.Stderr)
		}
		if r := e.Try("resume", "asleep"); r.Code != 5 || !strings.Contains(r.Stderr, image) {
			t.Errorf("resume: exit %d: %s", r.Code, r.Stderr)
		}
		restore()
		eventuallyReady(t, e, "asleep")
		if n := harness.QueryInt(t, e.Show("asleep").Endpoint.URL, "SELECT x FROM kept"); n != 42 {
			t.Errorf("asleep lost its data: %d", n)
		}
		e.Create("late")
		e.CheckNothingLeft()
	})
}
