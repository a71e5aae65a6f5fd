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

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/test/harness"
)

// TestUndo: what a reset, a rebase and a deletion replace comes back as it was.
func TestUndo(t *testing.T) {
	eachWith(t, "undo=24h", func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		dev := e.Create("dev", "--label", "team=web")
		url := dev.Endpoint.URL
		note := func(want int64) {
			t.Helper()
			if n := harness.QueryInt(t, url, "SELECT count(*) FROM pg_tables WHERE tablename = 'notes'"); n != want {
				t.Errorf("there are %d tables of notes, want %d", n, want)
			}
			harness.ExecSQL(t, url, "REINDEX TABLE orders") // reads all of it
		}
		harness.ExecSQL(t, url, "CREATE TABLE notes (x int)")
		e.Ctl("reset", "dev")
		note(0)
		e.CheckNothingLeft()
		e.Ctl("undo", "dev")
		note(1)
		e.Ctl("undo", "dev")
		note(0)
		e.Ctl("undo", "dev")
		e.Kill()
		e.Start()
		e.CheckNothingLeft()
		note(1)

		e.Ctl("rm", "dev")
		if err := harness.TrySQL(t.Context(), url, "SELECT 1"); err == nil {
			t.Error("a deleted clone answers")
		}
		if list := e.Deleted(); len(list) != 1 || list[0].Name != "dev" {
			t.Errorf("deleted: %+v", list)
		}
		e.CheckNothingLeft()
		e.Ctl("undo", "dev")
		if back := e.Show("dev"); back.Endpoint != dev.Endpoint || back.Labels["team"] != "web" {
			t.Errorf("it came back as %+v", back)
		}
		note(1)
		if r := e.Try("undo", "nosuch"); r.Code != 3 {
			t.Errorf("undo of nothing: exit %d: %s", r.Code, r.Stderr)
		}
		e.Ctl("rm", "--now", "dev")
		if r := e.Try("undo", "dev"); r.Code != 3 {
			t.Errorf("undo of what was deleted for good: exit %d: %s", r.Code, r.Stderr)
		}
		e.CheckNothingLeft()
	})
}

// TestRebase builds a clone anew on a refreshed golden: it switches over only if
// the command succeeds, and nothing has changed if anything fails.
func TestRebase(t *testing.T) {
	eachWith(t, "undo=24h", func(t *testing.T, e *harness.Env) {
		e.Start()
		source := e.DataDirectory(scale(2_000))
		e.Ctl("golden", "create", "shop", "--from-directory", source)
		dev := e.Create("dev")
		url := dev.Endpoint.URL
		harness.ExecSQL(t, url, "CREATE TABLE in_flux (x int); INSERT INTO in_flux VALUES (1)")
		e.Ctl("golden", "refresh", "shop")
		snapshots := strings.Fields(e.Ctl("snapshot", "ls", "shop", "-o", "name"))
		newest, oldest := snapshots[0], snapshots[1]
		migrate := filepath.Join(e.Dir, "migrate.sh")
		psql := filepath.Join(harness.BinDir(t), "psql") + ` -qX -v ON_ERROR_STOP=1 `
		script := func(text string) {
			t.Helper()
			if err := os.WriteFile(migrate, []byte("#!/bin/sh\nset -e\n"+text+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		asBefore := func(what string) {
			t.Helper()
			if now := e.Show("dev"); now.Generation != dev.Generation || now.Snapshot != dev.Snapshot || len(now.Labels) != 0 {
				t.Errorf("%s: dev has changed to %+v", what, now)
			}
			if n := harness.QueryInt(t, url, "SELECT x FROM in_flux"); n != 1 {
				t.Errorf("%s: dev's data have changed", what)
			}
			if list := e.List(); len(list) != 1 {
				t.Errorf("%s: %d clones are left", what, len(list))
			}
		}

		script(psql + `-c 'CREATE TABLE fine (x int)'; exit 7`)
		if r := e.Try("rebase", "dev", "--", migrate); r.Code != 7 || !strings.Contains(r.Stderr, "dev is as it was") {
			t.Errorf("a command that fails: exit %d: %s", r.Code, r.Stderr)
		}
		asBefore("a command that fails")
		long := fmt.Sprintf("600.%09d", os.Getpid()) // no other test's
		script("sleep " + long + " & sleep " + long)
		if r := e.Try("rebase", "dev", "--command-timeout", "1s", "--", migrate); r.Code != 8 || !strings.Contains(r.Stderr, "killed after 1s") {
			t.Errorf("a command that hangs: exit %d: %s", r.Code, r.Stderr)
		}
		if out, err := exec.Command("pgrep", "-f", "^sleep "+long+"$").Output(); err == nil {
			t.Errorf("of a command that hung is left: %s", out)
		}
		asBefore("a command that hangs")
		if r := e.Try("rebase", "dev", "--", "no-such-command"); r.Code != 2 {
			t.Errorf("no command: exit %d: %s", r.Code, r.Stderr)
		}
		if r := e.Try("rebase", "dev"); r.Code != 2 || !strings.Contains(r.Stderr, "reset [NAME] --newest") {
			t.Errorf("without a command: exit %d: %s", r.Code, r.Stderr)
		}

		// Somebody else's transaction in what is built would be lost with it.
		script(`echo "$DATABASE_URL" > ` + e.Dir + `/url.new && mv ` + e.Dir + `/url.new ` + e.Dir + `/url
while ! test -e ` + e.Dir + `/go; do sleep 0.02; done`)
		rebase := e.Command("rebase", "dev", "--", migrate)
		var stderr strings.Builder
		rebase.Stderr = &stderr
		start := func() (temporary string) {
			t.Helper()
			if err := rebase.Start(); err != nil {
				t.Fatal(err)
			}
			harness.Eventually(t, time.Minute, "the command runs", func() error {
				raw, err := os.ReadFile(filepath.Join(e.Dir, "url"))
				temporary = strings.TrimSpace(string(raw))
				return err
			})
			return temporary
		}
		proceed := func() {
			t.Helper()
			if err := os.WriteFile(filepath.Join(e.Dir, "go"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			_ = rebase.Wait() // its exit code is looked at
			os.Remove(filepath.Join(e.Dir, "go"))
			os.Remove(filepath.Join(e.Dir, "url"))
		}
		other, err := pgx.Connect(t.Context(), start())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Exec(t.Context(), "BEGIN; CREATE TABLE lost (x int)"); err != nil {
			t.Fatal(err)
		}
		if r := e.Try("rebase", "dev", "--", "true"); r.Code != 6 || !strings.Contains(r.Stderr, "another rebase") {
			t.Errorf("two at once: exit %d: %s", r.Code, r.Stderr)
		}
		proceed()
		if code := rebase.ProcessState.ExitCode(); code != 6 || !strings.Contains(stderr.String(), "transactions open") {
			t.Errorf("with another's transaction: exit %d: %s", code, stderr.String())
		}
		other.Close(t.Context())
		asBefore("with another's transaction")

		script(psql + `-c 'CREATE TABLE migrated AS SELECT 2 AS x'`)
		e.Ctl("rebase", "dev", "--", migrate)
		now := e.Show("dev")
		if now.Endpoint != dev.Endpoint || now.ID != dev.ID {
			t.Errorf("rebased it is %+v", now)
		}
		if n := harness.QueryInt(t, url, "SELECT x FROM migrated"); n != 2 {
			t.Errorf("the migration is not there")
		}
		if n := harness.QueryInt(t, url, "SELECT count(*) FROM pg_tables WHERE tablename = 'in_flux'"); n != 0 {
			t.Errorf("what was in flux is still there")
		}
		if tree := e.Ctl("tree", "-o", "json"); !strings.Contains(tree, newest) {
			t.Errorf("tree: %s", tree)
		}
		e.Ctl("undo", "dev")
		if n := harness.QueryInt(t, url, "SELECT x FROM in_flux"); n != 1 {
			t.Error("undo did not bring back what was in flux")
		}
		e.Ctl("undo", "dev")

		script("exit 1")
		r := e.Try("rebase", "dev", "--keep", "--", migrate)
		kept := ""
		for _, c := range e.List() {
			if c.Name != "dev" {
				kept = c.Name
			}
		}
		if r.Code != 1 || kept == "" || !strings.Contains(r.Stderr, "clonectl connect "+kept) {
			t.Errorf("kept %q: exit %d: %s", kept, r.Code, r.Stderr)
		}
		e.Ctl("rm", "--now", kept)

		// On a snapshot that is named, and so that it can't be taken back.
		was := e.Show("dev")
		if out := e.Ctl("rebase", "dev", "--onto", oldest, "--now", "--", "true"); !strings.Contains(out, "rebased on "+oldest) {
			t.Errorf("rebase --onto: %s", out)
		}
		if from := comesFrom(t, e, dev.ID); !slices.Contains(from, oldest) || slices.Contains(from, newest) {
			t.Errorf("rebased on %s, and not on %s, it comes from %v", oldest, newest, from)
		}
		if now := e.Show("dev"); now.Generation == was.Generation || len(now.Kept) != len(was.Kept) {
			t.Errorf("rebased with --now: %+v, and it was %+v", now, was)
		}

		// Killed in the middle, it is in nobody's way.
		script("echo $$ > " + e.Dir + "/url.new && mv " + e.Dir + "/url.new " + e.Dir + "/url\nexec sleep " + long)
		rebase = e.Command("rebase", "dev", "--", migrate)
		pid := start()
		if err := rebase.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = rebase.Wait() // it was killed
		e.Ctl("rebase", "dev", "--", "true")
		if now := e.Show("dev"); len(now.Labels) != 0 {
			t.Errorf("labels are left: %v", now.Labels)
		}
		if err := exec.Command("kill", pid).Run(); err != nil { // its command lives on
			t.Error(err)
		}
		os.Remove(filepath.Join(e.Dir, "url"))
		for _, c := range e.List() {
			if c.Name != "dev" {
				e.Ctl("rm", "--now", c.Name) // else it goes in a minute
			}
		}

		// Deleted in the middle: the rebase says so, and leaves nothing.
		script(`touch ` + e.Dir + `/url; while ! test -e ` + e.Dir + `/go; do sleep 0.02; done`)
		rebase = e.Command("rebase", "dev", "--", migrate)
		start()
		e.Ctl("rm", "--now", "dev")
		proceed()
		if code := rebase.ProcessState.ExitCode(); code != 3 {
			t.Errorf("deleted in the middle: exit %d", code)
		}
		e.CheckNothingLeft()
	})
}

// comesFrom returns the IDs of all that a clone comes from.
func comesFrom(t *testing.T, e *harness.Env, id string) (ids []string) {
	t.Helper()
	var nodes []struct{ ID, Parent string }
	if err := json.Unmarshal([]byte(e.Ctl("tree", "-o", "json")), &nodes); err != nil {
		t.Fatal(err)
	}
	parent := map[string]string{}
	for _, n := range nodes {
		parent[n.ID] = n.Parent
	}
	for ; parent[id] != ""; id = parent[id] {
		ids = append(ids, parent[id])
	}
	return ids
}

// TestPublish: a curated clone becomes a golden of its own, harmless like any.
func TestPublish(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		dev := e.Create("dev")
		harness.ExecSQL(t, dev.Endpoint.URL, "CREATE TABLE curated AS SELECT 1 AS x; CREATE ROLE intruder LOGIN PASSWORD 'open'")
		e.Ctl("snapshot", "dev@v1")
		harness.ExecSQL(t, dev.Endpoint.URL, "UPDATE curated SET x = 2")
		e.Ctl("golden", "create", "now", "--from-clone", "dev")
		e.Ctl("golden", "create", "then", "--from-clone", "dev@v1")
		if n := harness.QueryInt(t, dev.Endpoint.URL, "SELECT x FROM curated"); n != 2 {
			t.Errorf("publishing changed the clone: %d", n)
		}
		e.Ctl("rm", "dev")
		for golden, want := range map[string]int64{"now": 2, "then": 1} {
			c := e.Create("of-"+golden, "--golden", golden)
			if n := harness.QueryInt(t, c.Endpoint.URL, "SELECT x FROM curated"); n != want {
				t.Errorf("%s: %d", golden, n)
			}
			if err := harness.TrySQL(t.Context(), withPasswordOf(t, c.Endpoint.URL, dev.Endpoint.URL), "SELECT 1"); err == nil {
				t.Errorf("%s: the published clone's password opens a clone of it", golden)
			}
			if n := harness.QueryInt(t, c.Endpoint.URL, "SELECT count(*) FROM pg_authid WHERE rolname = 'intruder' AND rolpassword IS NOT NULL"); n != 0 {
				t.Errorf("%s: a role's password was published", golden)
			}
			e.Ctl("rm", "of-"+golden)
		}
		if r := e.Try("golden", "refresh", "now"); r.Code != 3 {
			t.Errorf("refresh without the clone: exit %d: %s", r.Code, r.Stderr)
		}
		e.Ctl("golden", "rm", "now")
		e.Ctl("golden", "rm", "then")
		e.CheckNothingLeft()
	})
}

// TestHeld: the clone of a job that is killed goes a minute later, and not
// before, over a restart of the daemon too.
func TestHeld(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(200))
		pid := filepath.Join(e.Dir, "pid")
		job := e.Command("run", "--", "sh", "-c", "echo $$ > "+pid+"; exec sleep 600")
		if err := job.Start(); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, time.Minute, "the job has its clone", func() error {
			if list := e.List(); len(list) != 1 || list[0].State != "CLONE_STATE_READY" {
				return os.ErrNotExist
			}
			return nil
		})
		e.Kill()
		e.Start()
		_ = job.Process.Kill()
		_ = job.Wait()
		raw, err := os.ReadFile(pid) // its command lives on
		if err != nil {
			t.Fatal(err)
		}
		if err := exec.Command("kill", strings.TrimSpace(string(raw))).Run(); err != nil {
			t.Error(err)
		}
		if list := e.List(); len(list) != 1 {
			t.Errorf("it went with the job: %v", list)
		}
		harness.Eventually(t, 3*time.Minute, "it is collected", func() error {
			if list := e.List(); len(list) != 0 {
				return os.ErrExist
			}
			return nil
		})
		e.CheckNothingLeft()
	})
}
