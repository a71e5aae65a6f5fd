package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/test/harness"
)

// TestPoolFull lets a clone write until the pool is full. New ones are refused with
// what to do, nothing is left of the refused, and when the clone has gone all is as
// before: the others have lost nothing.
func TestPoolFull(t *testing.T) {
	eachWith(t, "pool=small", func(t *testing.T, e *harness.Env) {
		if e.Driver == "dir" {
			t.Skip("the pool of plain directories is the host's own filesystem")
		}
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		greedy := e.Create("greedy")
		modest := e.Create("modest")

		harness.ExecSQL(t, greedy.Endpoint.URL, "CREATE TABLE hoard (payload text); ALTER TABLE hoard ALTER payload SET STORAGE EXTERNAL")
		var full error
		for range 200 {
			full = harness.TrySQL(t.Context(), greedy.Endpoint.URL,
				"INSERT INTO hoard SELECT (SELECT string_agg(md5(i::text || j::text || random()), '') FROM generate_series(1, 240) j) FROM generate_series(1, 1300) i")
			if full != nil {
				break
			}
		}
		if full == nil {
			t.Fatal("two gigabytes went into a pool of one")
		}
		t.Logf("full: %v", full)

		// The other's server may itself find no room for its log, and is down then until there is.
		orders := func() error {
			return harness.TrySQL(t.Context(), e.Show("modest").Endpoint.URL, "SELECT 1 / count(*) FROM orders")
		}
		if err := orders(); err != nil && strings.Contains(err.Error(), "division by zero") {
			t.Error("the other clone lost its data")
		} else if err != nil {
			t.Logf("the other clone, in a full pool: %v", err)
		}
		before := e.Volumes()
		harness.Eventually(t, time.Minute, "creating is refused", func() error {
			r := e.Try("create", "late")
			if r.Code == 0 {
				e.Ctl("rm", "late")
			}
			if r.Code != 7 {
				return fmt.Errorf("exit %d: %s", r.Code, r.Stderr)
			}
			return nil
		})
		if r := e.Try("golden", "refresh", "shop"); r.Code != 7 {
			t.Errorf("refresh: exit %d, want 7: %s", r.Code, r.Stderr)
		}
		if r := e.Try("golden", "create", "other", "--from-directory", e.DataDirectory(scale(2_000))); r.Code != 7 || !containsAll(r.Stderr, "hint") {
			t.Errorf("golden create: exit %d, want 7: %s", r.Code, r.Stderr)
		}
		// These need next to nothing, and may find room for it: but a failure is a clean one.
		for _, args := range [][]string{{"snapshot", "modest@full"}, {"reset", "modest"}} {
			if r := e.Try(args...); r.Code != 0 && (r.Code != 7 || !containsAll(r.Stderr, "hint")) {
				t.Errorf("%v: exit %d, want 0 or 7: %s", args, r.Code, r.Stderr)
			}
		}
		if r := e.Try("snapshot", "rm", "modest@full"); r.Code != 0 && r.Code != 3 {
			t.Errorf("removing a snapshot from a full pool: exit %d: %s", r.Code, r.Stderr)
		}
		before[slices.Index(before, modest.VolumeID())] = e.Show("modest").VolumeID()
		slices.Sort(before)
		harness.Eventually(t, time.Minute, "what was refused has left nothing", func() error {
			if after := e.Volumes(); !slices.Equal(after, before) {
				return fmt.Errorf("before %v, after %v", before, after)
			}
			return nil
		})

		e.Ctl("rm", "greedy")
		harness.Eventually(t, 3*time.Minute, "there is room again", func() error {
			if r := e.Try("create", "late"); r.Code != 0 {
				return fmt.Errorf("exit %d: %s", r.Code, r.Stderr)
			}
			return nil
		})
		eventuallyReady(t, e, "modest")
		harness.Eventually(t, time.Minute, "the other clone has its data", orders)
		e.CheckNothingLeft()
	})
}
