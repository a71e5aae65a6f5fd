package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/test/harness"
)

// findings waits until doctor finds all of these, each a check and part of what it
// says, and returns its exit code.
func findings(t *testing.T, e *harness.Env, want ...[2]string) (code int) {
	t.Helper()
	harness.Eventually(t, 30*time.Second, fmt.Sprint("doctor finds ", want), func() error {
		var all []harness.Finding
		all, code = e.Doctor()
		for _, w := range want {
			i := slices.IndexFunc(all, func(f harness.Finding) bool { return f.Check == w[0] && strings.Contains(f.Message, w[1]) })
			if i < 0 {
				return fmt.Errorf("no %v in %+v", w, all)
			}
			if all[i].Remedy == "" {
				t.Errorf("no remedy: %+v", all[i])
			}
		}
		return nil
	})
	return code
}

// asBefore waits until doctor finds no more than it did.
func asBefore(t *testing.T, e *harness.Env, before []harness.Finding) {
	t.Helper()
	harness.Eventually(t, 30*time.Second, "doctor finds nothing new", func() error {
		if now, _ := e.Doctor(); !slices.Equal(now, before) {
			return fmt.Errorf("%+v, and before %+v", now, before)
		}
		return nil
	})
}

// TestDoctor breaks one thing after the other behind the daemon's back, and each
// time asks the doctor, and does as it says.
func TestDoctor(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		untouched := e.Create("untouched")
		robbed := e.Create("robbed")
		stopped := e.Create("stopped")
		began := time.Now()
		healthy, code := e.Doctor()
		t.Logf("doctor took %v", time.Since(began))
		if e.Runtime == "docker" && e.Driver != "dir" && (code != 0 || len(healthy) > 0) {
			t.Errorf("all should be well: exit %d, %+v", code, healthy)
		}
		for _, f := range healthy { // what the machine lacks
			if f.Severity != "SEVERITY_WARNING" || f.Check != "runtime" && f.Check != "storage" || code != 11 {
				t.Errorf("all should be well: exit %d, %+v", code, f)
			}
		}
		if out := e.Try("doctor"); out.Code != code || !strings.Contains(out.Stdout, "checks in") {
			t.Errorf("for people: exit %d: %s%s", out.Code, out.Stdout, out.Stderr)
		}

		e.DestroyVolume(robbed)
		if code := findings(t, e, [2]string{"clones", "robbed"}); code != 12 {
			t.Errorf("a volume has vanished: exit %d", code)
		}
		e.Ctl("rm", "robbed")

		e.Ctl("suspend", "stopped")
		free := e.Occupy(stopped.Endpoint.Port)
		if code := findings(t, e, [2]string{"ports", "stopped"}); code != 12 {
			t.Errorf("a port is taken: exit %d", code)
		}
		e.Ctl("resume", "stopped", "--new-port") // as the doctor says
		free()
		asBefore(t, e, healthy)

		// While the daemon is stopped, so that no pass sees some of them only.
		e.Stop()
		before := e.Volumes()
		var planted []string
		for i := range 7 {
			planted = append(planted, fmt.Sprintf("c-aaaaaaaaa%c-1", 'a'+i))
			e.PlantVolume(planted[i])
		}
		if e.Runtime == "docker" {
			e.PlantContainer("c-aaaaaaaaaz-1", untouched)
			planted = append(planted, "c-aaaaaaaaaz-1")
		}
		e.Start()
		if code := findings(t, e, [2]string{"orphans", fmt.Sprintf("%d orphans", len(planted))}); code != 12 {
			t.Errorf("orphans beyond the limit: exit %d", code)
		}
		var listed []struct {
			Name, Reason string
			UniqueBytes  json.Number
		}
		if err := json.Unmarshal([]byte(e.Ctl("gc", "--dry-run", "-o", "json")), &listed); err != nil || len(listed) != len(planted) {
			t.Fatalf("dry run: %v, %+v", err, listed)
		}
		for _, o := range listed {
			if bytes, _ := o.UniqueBytes.Int64(); strings.HasPrefix(o.Name, "volume ") && e.Driver == "dir" && bytes < 1<<20 {
				t.Errorf("it takes %d bytes: %+v", bytes, o)
			}
		}
		if r := e.Try("gc"); r.Code != 5 || !strings.Contains(r.Stderr, "--yes") {
			t.Errorf("unconfirmed: exit %d: %s", r.Code, r.Stderr)
		}
		if now := e.Volumes(); len(now) != len(before)+7 {
			t.Errorf("a listing has destroyed something: %v", now)
		}
		out := e.Ctl("gc", "--yes")
		for _, id := range planted {
			if !strings.Contains(out, id+" destroyed") {
				t.Errorf("%s is not said to be destroyed: %s", id, out)
			}
		}
		harness.Eventually(t, 30*time.Second, "the orphans are gone, and nothing else", func() error {
			if now := e.Volumes(); !slices.Equal(now, before) {
				return fmt.Errorf("volumes %v, before %v", now, before)
			}
			return nil
		})
		asBefore(t, e, healthy)
		harness.QueryInt(t, e.Show("untouched").Endpoint.URL, "SELECT count(*) FROM orders")
		e.CheckNothingLeft()
	})
}

// TestDoctorNow sees what no pass has seen yet: the packet filter's rules flushed,
// a container removed.
func TestDoctorNow(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		if e.Runtime != "docker" {
			t.Skip("no Docker here")
		}
		e.Start()
		e.GoldenFromDirectory("shop", scale(1_000))
		e.Create("dev")
		// The next pass mends it: then it is flushed again.
		harness.Eventually(t, 30*time.Second, "doctor sees that the rules are gone", func() error {
			if out, err := exec.Command("nft", "flush", "table", "inet", "cloned-"+e.Instance).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			all, code := e.Doctor()
			if code != 12 || !slices.ContainsFunc(all, func(f harness.Finding) bool { return f.Check == "network" }) {
				return fmt.Errorf("exit %d: %+v", code, all)
			}
			return nil
		})
		asBefore(t, e, nil)
		harness.CheckIsolated(t, e, e.Show("dev"))
		e.CheckNothingLeft()
	})
}

// TestBackupRestore backs up while clones are made, loses the state, key and all, and
// puts it back: what the backup knows is as it was, on open connections and by its
// passwords, and what came after it is there until the operator decides.
func TestBackupRestore(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		old := e.Create("old")
		harness.ExecSQL(t, old.Endpoint.URL, "CREATE TABLE kept AS SELECT 42 AS x")
		healthy, _ := e.Doctor()
		backup := filepath.Join(e.Dir, "backup.tar")
		atOnce(3, func(i int) {
			if i == 0 {
				if r := e.Cloned("state", "backup", backup); r.Code != 0 {
					t.Errorf("backup: exit %d: %s", r.Code, r.Stderr)
				}
				return
			}
			e.Create(fmt.Sprint("meanwhile-", i))
		})
		e.Ctl("rm", "meanwhile-1", "meanwhile-2")
		if r := e.Cloned("state", "backup", backup); r.Code != 0 || !strings.Contains(r.Stdout, "1 clones") {
			t.Fatalf("backup: exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
		if info, err := os.Stat(backup); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the backup is open to others: %v, %v", info, err)
		}
		if r := e.Cloned("state", "check"); r.Code != 0 {
			t.Errorf("check: exit %d: %s", r.Code, r.Stderr)
		}
		young := e.Create("young")
		harness.ExecSQL(t, young.Endpoint.URL, "CREATE TABLE kept AS SELECT 43 AS x")
		if r := e.Cloned("state", "restore", "--force", backup); r.Code != 1 {
			t.Errorf("restore while the daemon runs: exit %d: %s", r.Code, r.Stderr)
		}
		e.Stop()
		e.LoseState()
		if r := e.Cloned("state", "restore", backup); r.Code != 0 {
			t.Fatalf("restore: exit %d: %s", r.Code, r.Stderr)
		}
		e.Start()
		if now := e.Show("old"); now.Endpoint.URL != old.Endpoint.URL || now.Restarts != 0 || now.State != "CLONE_STATE_READY" {
			t.Errorf("old is %+v, and was %+v", now, old)
		}
		if n := harness.QueryInt(t, old.Endpoint.URL, "SELECT x FROM kept"); n != 42 {
			t.Errorf("old reads %d", n)
		}
		findings(t, e, [2]string{"orphans", "a backup of the state was put back"})
		time.Sleep(5 * time.Second) // two passes and more, which must do nothing: nobody tells of that
		if n := harness.QueryInt(t, young.Endpoint.URL, "SELECT x FROM kept"); n != 43 {
			t.Errorf("young reads %d", n)
		}
		if out := e.Ctl("gc", "--dry-run"); !strings.Contains(out, "volume "+young.VolumeID()) || !strings.Contains(out, "there is no clone of the ID "+young.ID) {
			t.Errorf("dry run: %s", out)
		}
		e.Ctl("gc", "--yes")
		asBefore(t, e, healthy)
		e.CheckNothingLeft()
	})
}

// TestStoreDamaged damages the store: the daemon does not start, the check says so,
// and a restore that keeps the damaged one mends it.
func TestStoreDamaged(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(1_000))
		c := e.Create("dev")
		backup := filepath.Join(e.Dir, "backup.tar")
		if r := e.Cloned("state", "backup", backup); r.Code != 0 {
			t.Fatalf("backup: exit %d: %s", r.Code, r.Stderr)
		}
		e.Stop()
		store := filepath.Join(e.Dir, "state/state.db")
		if err := os.Truncate(store, 10_000); err != nil {
			t.Fatal(err)
		}
		if err := e.TryStart(); err == nil {
			t.Fatal("it started from a damaged store")
		}
		for _, args := range [][]string{{"check"}, {"backup", filepath.Join(e.Dir, "bad.tar")}} {
			if r := e.Cloned(append([]string{"state"}, args...)...); r.Code != 1 || !strings.Contains(r.Stderr, "is damaged") {
				t.Errorf("%v: exit %d: %s", args, r.Code, r.Stderr)
			}
		}
		if r := e.Cloned("state", "restore", backup); r.Code != 1 || !strings.Contains(r.Stderr, "--force") {
			t.Errorf("restore over a state: exit %d: %s", r.Code, r.Stderr)
		}
		if r := e.Cloned("state", "restore", "--force", backup); r.Code != 0 || !strings.Contains(r.Stderr, "replaced-") {
			t.Fatalf("restore: exit %d: %s", r.Code, r.Stderr)
		}
		e.Start()
		harness.QueryInt(t, c.Endpoint.URL, "SELECT count(*) FROM orders")
		e.CheckNothingLeft()
	})
}
