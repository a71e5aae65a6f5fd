package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloned-db/cloned/test/harness"
)

// TestKillDaemon kills the daemon again and again in the middle of creates,
// resets and deletes. Afterwards each clone is whole or gone, a client's retry
// has succeeded, and nothing is left over. Clones that were ready keep serving
// throughout.
func TestKillDaemon(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		steady := e.Create("steady")
		harness.ExecSQL(t, steady.Endpoint.URL, "CREATE TABLE kept AS SELECT 42 AS x")

		const clients, kills = 4, 4
		stop := make(chan struct{})
		var made, deleted sync.Map
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					name := fmt.Sprintf("job-%d-%d", i, n)
					if !retry(e, stop, "create", name) {
						return
					}
					made.Store(name, true)
					if n%3 == 1 && !retry(e, stop, "reset", name) {
						return
					}
					if n%2 == 0 {
						deleted.Store(name, true)
						if !retry(e, stop, "rm", name) {
							return
						}
					}
				}
			})
		}
		for range kills {
			time.Sleep(1500 * time.Millisecond) // let some work be under way: the moment is random on purpose
			if err := harness.TrySQL(t.Context(), steady.Endpoint.URL, "SELECT 1"); err != nil {
				t.Errorf("steady stopped answering: %v", err)
			}
			e.Kill()
			if err := harness.TrySQL(t.Context(), steady.Endpoint.URL, "SELECT 1"); err != nil {
				t.Errorf("steady went down with the daemon: %v", err)
			}
			e.Start()
		}
		close(stop)
		wg.Wait()

		if n := harness.QueryInt(t, e.Show("steady").Endpoint.URL, "SELECT x FROM kept"); n != 42 {
			t.Errorf("steady lost its data: %d", n)
		}
		harness.Eventually(t, 2*time.Minute, "every clone is settled", func() error {
			for _, c := range e.List() {
				if c.State != "CLONE_STATE_READY" {
					return fmt.Errorf("%s is %s: %s", c.Name, c.State, c.Message)
				}
			}
			return nil
		})
		for _, c := range e.List() {
			harness.QueryInt(t, e.Show(c.Name).Endpoint.URL, "SELECT count(*) FROM orders")
		}
		made.Range(func(name, _ any) bool {
			r := e.Try("show", name.(string))
			if _, gone := deleted.Load(name); !gone && r.Code != 0 {
				t.Errorf("%s was made, not deleted, and is not there: %s", name, r.Stderr)
			}
			return true
		})
		e.CheckNothingLeft()
	})
}

// retry runs clonectl as a client would that is told "try again": until it
// succeeds, or until stop is closed (then false).
func retry(e *harness.Env, stop chan struct{}, args ...string) bool {
	for {
		r := e.Try(args...)
		if r.Code == 0 || args[0] == "rm" && r.Code == 3 {
			return true
		}
		select {
		case <-stop:
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestKillDuringRefresh kills the daemon while a golden is being made: nothing
// of it is left, and the same command then succeeds.
func TestKillDuringRefresh(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		dir := e.DataDirectory(scale(20_000))
		for _, after := range []time.Duration{50, 400, 900} {
			cmd := e.Command("golden", "create", "shop", "--from-directory", dir)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(after * time.Millisecond) // a random moment on purpose
			e.Kill()
			cmd.Wait()
			e.Start()
			harness.Eventually(t, time.Minute, "the golden is whole or gone", func() error {
				r := e.Try("golden", "show", "shop")
				if r.Code != 3 && r.Code != 0 {
					return fmt.Errorf("exit %d: %s", r.Code, r.Stderr)
				}
				if r.Code == 0 {
					e.Ctl("golden", "rm", "shop")
				}
				return nil
			})
			e.CheckNothingLeft()
		}
		// What the last attempt left may still be being removed: "try again" (6).
		harness.Eventually(t, time.Minute, "the same command succeeds", func() error {
			if r := e.Try("golden", "create", "shop", "--from-directory", dir); r.Code == 6 {
				return fmt.Errorf("%s", r.Stderr)
			} else if r.Code != 0 {
				t.Fatalf("exit %d: %s", r.Code, r.Stderr)
			}
			return nil
		})
		e.Create("works")
		e.CheckNothingLeft()
	})
}

// TestDatabaseCrash kills a clone's database: it is noticed within seconds,
// shown, restarted and counted, and its data is there.
func TestDatabaseCrash(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		c := e.Create("victim")
		harness.ExecSQL(t, c.Endpoint.URL, "CREATE TABLE kept AS SELECT 42 AS x; CHECKPOINT")
		for range 2 {
			if err := syscall.Kill(e.PostmasterPID(c), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			before := c.Restarts
			harness.Eventually(t, 30*time.Second, "it is restarted and counted", func() error {
				c = e.Show("victim")
				if c.State != "CLONE_STATE_READY" || c.Restarts <= before {
					return fmt.Errorf("%s after %d restarts", c.State, c.Restarts)
				}
				return nil
			})
		}
		if n := harness.QueryInt(t, c.Endpoint.URL, "SELECT x FROM kept"); n != 42 {
			t.Errorf("lost its data: %d", n)
		}
		e.CheckNothingLeft()
	})
}

// TestDockerRestart restarts the Docker Engine under running clones: all come
// back by themselves, with their data, and isolated as before.
func TestDockerRestart(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		if e.Runtime != "docker" {
			t.Skip("no Docker here")
		}
		restart := harness.DockerRestart(t)
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		for i := range 3 {
			c := e.Create(fmt.Sprintf("c%d", i))
			harness.ExecSQL(t, c.Endpoint.URL, "CREATE TABLE kept AS SELECT 42 AS x")
		}
		if out, err := exec.Command(restart[0], restart[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", strings.Join(restart, " "), err, out)
		}
		for i := range 3 {
			name := fmt.Sprintf("c%d", i)
			harness.Eventually(t, 2*time.Minute, name+" is back", func() error {
				c := e.Show(name)
				if c.State != "CLONE_STATE_READY" {
					return fmt.Errorf("%s: %s", c.State, c.Message)
				}
				return harness.TrySQL(t.Context(), c.Endpoint.URL, "SELECT x FROM kept")
			})
		}
		harness.CheckIsolated(t, e, e.Show("c0"))
		e.Create("after")
		e.CheckNothingLeft()
	})
}

// TestVolumeGone destroys a clone's volume behind the daemon's back: the clone
// is failed, never made anew, and can be deleted.
func TestVolumeGone(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		c := e.Create("robbed")
		e.Create("untouched")
		e.DestroyVolume(c)
		harness.Eventually(t, time.Minute, "it is failed", func() error {
			if now := e.Show("robbed"); now.State != "CLONE_STATE_FAILED" {
				return fmt.Errorf("%s: %s", now.State, now.Message)
			}
			return nil
		})
		harness.QueryInt(t, e.Show("untouched").Endpoint.URL, "SELECT count(*) FROM orders")
		e.Ctl("rm", "robbed")
		e.CheckNothingLeft()
	})
}

// TestStoreLost refuses to start from an empty store while volumes exist.
func TestStoreLost(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		c := e.Create("survivor")
		e.Stop()
		back := e.LoseStore()
		err := e.TryStart()
		if err == nil {
			t.Fatal("it started from an empty store")
		}
		if log := e.LogTail(10); !strings.Contains(log, "--adopt") {
			t.Errorf("the refusal does not name --adopt: %s", log)
		}
		harness.QueryInt(t, c.Endpoint.URL, "SELECT count(*) FROM orders")
		back()
		e.Start()
		harness.QueryInt(t, e.Show("survivor").Endpoint.URL, "SELECT count(*) FROM orders")
		e.CheckNothingLeft()
	})
}

// TestAdopt loses the store and has the state made anew from pool and runtime: the
// data and the passwords of clones are as they were, forks and snapshots too, and
// new clones can be made.
func TestAdopt(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		c := e.Create("survivor")
		harness.ExecSQL(t, c.Endpoint.URL, "CREATE TABLE kept AS SELECT 42 AS x")
		e.Ctl("snapshot", "survivor@before")
		fork := e.Create("fork", "--from", "survivor@before")
		harness.ExecSQL(t, fork.Endpoint.URL, "UPDATE kept SET x = 43")
		e.Stop()
		e.LoseStore()
		e.Start("--adopt")
		adopted := map[string]harness.Clone{}
		harness.Eventually(t, time.Minute, "the clones are adopted", func() error {
			for _, a := range e.List() {
				if a.State != "CLONE_STATE_SUSPENDED" || !a.Protect || !strings.HasPrefix(a.Golden, "adopted-") {
					return fmt.Errorf("adopted: %+v", a)
				}
				adopted[a.ID] = a
			}
			return nil
		})
		if len(adopted) != 2 {
			t.Fatalf("adopted: %v", adopted)
		}
		for was, x := range map[*harness.Clone]int64{&c: 42, &fork: 43} {
			e.Ctl("resume", was.ID)
			now := e.Show(was.ID)
			if now.Endpoint.Password != was.Endpoint.Password {
				t.Errorf("the password of %s has changed", was.Name)
			}
			url := strings.Replace(now.Endpoint.URL, "/"+now.Endpoint.Database, "/"+was.Endpoint.Database, 1)
			if n := harness.QueryInt(t, url, "SELECT x FROM kept"); n != x {
				t.Errorf("%s reads %d, want %d", was.Name, n, x)
			}
		}
		e.Create("new", "--golden", adopted[c.ID].Golden)
		if found, code := e.Doctor(); code == 12 {
			t.Errorf("after adopting: %+v", found)
		}
		e.Stop() // the second start needs no --adopt
		e.Start()
		for _, a := range e.List() {
			e.Try("unprotect", a.Name)
			e.Ctl("rm", a.Name)
		}
		e.CheckNothingLeft()
	})
}
