package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloned-db/cloned/test/harness"
)

// TestRun gives a command a clone for its life.
func TestRun(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		psql := harness.BinDir(t) + "/psql"
		if out := e.Ctl("run", "--", psql, "-XAtc", "SELECT count(*) > 0 FROM orders"); !strings.Contains(out, "t") {
			t.Errorf("PG* did not lead to the clone: %s", out)
		}
		if r := e.Try("run", "--", "sh", "-c", "test -n \"$DATABASE_URL\" && exit 42"); r.Code != 42 {
			t.Errorf("exit %d, want the command's 42: %s", r.Code, r.Stderr)
		}
		if r := e.Try("run", "--", "/no/such/command"); r.Code == 0 {
			t.Error("a command that does not exist succeeded")
		}
		cmd := e.Command("run", "--", "sleep", "300")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, time.Minute, "the clone is there", func() error {
			if len(e.List()) == 0 {
				return fmt.Errorf("none yet")
			}
			return nil
		})
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if left := e.List(); len(left) != 0 {
			t.Errorf("clones left by run: %+v", left)
		}
		e.CheckNothingLeft()
	})
}

// TestPrometheus lets a real Prometheus scrape the daemon.
func TestPrometheus(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		if _, err := exec.LookPath("prometheus"); err != nil {
			if strings.Contains(os.Getenv("CLONED_REQUIRE"), "prometheus") {
				t.Fatal(err)
			}
			t.Skip("no prometheus here")
		}
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		e.Create("dev")
		query := e.Prometheus()
		for q, want := range map[string]string{
			`up`: "1",
			`cloned_clones{golden="shop",state="ready"}`: "1",
			`cloned_orphans`: "0",
		} {
			harness.Eventually(t, 30*time.Second, q, func() error {
				if got, err := query(q); err != nil || got != want {
					return fmt.Errorf("%q, want %q: %v", got, want, err)
				}
				return nil
			})
		}
		for _, q := range []string{
			`count(cloned_build_info)`, `sum(cloned_operation_duration_seconds_count{operation="create",result="ok"})`, `cloned_pool_free_bytes`,
			`cloned_golden_snapshot_age_seconds`, `process_resident_memory_bytes`, `go_goroutines`,
		} {
			harness.Eventually(t, 30*time.Second, q, func() error {
				if got, err := query(q); err != nil || got == "" || got == "0" {
					return fmt.Errorf("%q: %v", got, err)
				}
				return nil
			})
		}
		e.CheckNothingLeft()
	})
}

// TestLimits refuses beyond the configured number of clones and below the floor
// of free space, and says what to do.
func TestLimits(t *testing.T) {
	t.Run("clones", func(t *testing.T) {
		eachWith(t, "clones.max=2", func(t *testing.T, e *harness.Env) {
			e.Start()
			e.GoldenFromDirectory("shop", scale(1_000))
			e.Create("a")
			e.Create("b")
			r := e.Try("create", "c")
			if r.Code != 7 || !strings.Contains(r.Stderr, "2") || !strings.Contains(r.Stderr, "hint") {
				t.Errorf("exit %d, want 7, the limit and a hint: %s", r.Code, r.Stderr)
			}
			e.Ctl("rm", "a")
			e.Create("c")
			e.CheckNothingLeft()
		})
	})
	t.Run("space", func(t *testing.T) {
		eachWith(t, "clones.floor=900TiB", func(t *testing.T, e *harness.Env) {
			e.Start()
			r := e.Try("golden", "create", "shop", "--from-directory", e.DataDirectory(scale(1_000)))
			if r.Code != 7 || !strings.Contains(r.Stderr, "hint") {
				t.Errorf("exit %d, want 7 and a hint: %s", r.Code, r.Stderr)
			}
			e.CheckNothingLeft()
		})
	})
}

// TestUpgrade restarts the daemon under load: no connection is interrupted.
func TestUpgrade(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		c := e.Create("busy")
		cmd := exec.Command(harness.BinDir(t)+"/pgbench", "-n", "-c", "2", "-T", "25", "-f", harness.Repo(t, "scripts/shop/load.pgbench"), c.Endpoint.URL)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		e.Stop()
		e.Start()
		e.Kill()
		e.Start()
		select {
		case err := <-ended:
			t.Errorf("pgbench ended before the daemon was back: nothing is proved: %v: %s", err, out.String())
		default:
			if err := <-ended; err != nil {
				t.Errorf("pgbench was interrupted: %v: %s", err, out.String())
			}
		}
		if now := e.Show("busy"); now.Restarts != 0 || now.State != "CLONE_STATE_READY" {
			t.Errorf("the restart of the daemon touched the clone: %+v", now)
		}
		e.CheckNothingLeft()
	})
}
