package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/test/harness"
)

// TestHostileDirectory makes a golden of a data directory that has its server run
// commands, load libraries and call others in every way there is, and a clone of
// it. Nothing of the host is touched, and nobody is called.
func TestHostileDirectory(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		o := harness.NewOutside(t, e.Dir)
		o.Untouched(t, "nothing")
		s := harness.InitServer(t, filepath.Join(e.Dir, "evil"))
		s.Start()
		for _, db := range []string{"postgres", "template1"} {
			s.Exec(db, "CREATE FUNCTION evil() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN COPY (SELECT 1) TO PROGRAM 'touch "+o.Dir+"/event'; END $$")
			s.Exec(db, "CREATE EVENT TRIGGER evil ON ddl_command_start EXECUTE FUNCTION evil()")
			s.Exec(db, "ALTER EVENT TRIGGER evil ENABLE ALWAYS")
		}
		for _, sql := range []string{
			"ALTER EVENT TRIGGER evil DISABLE",
			fmt.Sprintf("CREATE SUBSCRIPTION evil CONNECTION 'host=127.0.0.1 port=%d user=x' PUBLICATION p WITH (connect = false)", o.Port),
			"ALTER SUBSCRIPTION evil ENABLE",
			"ALTER EVENT TRIGGER evil ENABLE ALWAYS",
			"ALTER SYSTEM SET archive_mode = 'always'",
			"ALTER SYSTEM SET archive_command = 'touch " + o.Dir + "/archive'",
			"ALTER ROLE ALL SET dynamic_library_path = '" + o.Dir + "'",
			"ALTER ROLE ALL SET session_preload_libraries = '" + o.Dir + "/evil.so'", // nobody gets in any more
		} {
			s.Exec("postgres", sql)
		}
		s.Stop()
		conf, err := os.OpenFile(filepath.Join(s.Dir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{
			"restore_command = 'touch OUT/restore; false'", "recovery_end_command = 'touch OUT/end'", "archive_cleanup_command = 'touch OUT/cleanup'",
			"shared_preload_libraries = 'OUT/evil.so'", "ssl = on", "ssl_passphrase_command = 'touch OUT/passphrase'", "ssl_key_file = 'OUT/secret'",
			"primary_conninfo = 'host=127.0.0.1 port=PORT user=x'", "logging_collector = on", "log_directory = 'OUT'", "external_pid_file = 'OUT/pid'",
			"unix_socket_directories = 'OUT'", "listen_addresses = '*'", "include 'OUT/secret'", "include_dir 'OUT'", "hba_file = 'OUT/hba'",
		} {
			if _, err := fmt.Fprintln(conf, strings.NewReplacer("OUT", o.Dir, "PORT", itoa(o.Port)).Replace(line)); err != nil {
				t.Fatal(err)
			}
		}
		if err := conf.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.Dir, "standby.signal"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		o.Forget() // what it took to make all that
		e.Ctl("golden", "create", "evil", "--from-directory", s.Dir)
		o.Untouched(t, "golden create")
		c := e.Create("a", "--golden", "evil")
		o.Untouched(t, "create")
		if e.Runtime == "docker" {
			// A clone is its user's, who may run what they like: in the container.
			for _, what := range []string{
				"touch " + o.Dir + "/mine",
				fmt.Sprintf("exec 3<>/dev/tcp/%s/%d", e.BridgeGateway(), o.Port),
			} {
				if err := harness.TrySQL(t.Context(), c.Endpoint.URL, "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; timeout 3 bash -c \""+what+"\"'"); err == nil {
					t.Errorf("%s works in a clone", what)
				}
			}
			o.Untouched(t, "what a clone does")
		}
		e.Ctl("reset", "a")
		e.Ctl("rm", "a", "--now")
		o.Untouched(t, "reset and rm")
		e.Ctl("golden", "rm", "evil")
		e.CheckNothingLeft()
	})
}

// TestHostileClone has the user of a clone put links, pipes and the like in the
// place of what the daemon reads on its volume, and uses the clone in every way.
// Nothing of the host is touched, nobody waits, and the others notice nothing.
func TestHostileClone(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		if e.Runtime != "docker" {
			t.Skip("without Docker a clone's server is not confined, and opens itself what is linked to")
		}
		e.Start()
		o := harness.NewOutside(t, e.Dir)
		e.Ctl("golden", "create", "shop", "--from-directory", e.DataDirectory(scale(1_000)))
		other := e.Create("other")
		pid := e.PID()
		// The commands run in the data directory; ".." is the volume's root.
		for name, plant := range map[string]string{
			"notes":    "ln -sf OUT/secret ../.cloned/readahead.json",
			"pipes":    "rm -f ../.cloned/readahead.json; mkfifo ../.cloned/readahead.json base/pipe",
			"socket":   "mv ../.cloned/run ../.cloned/away; ln -s OUT ../.cloned/run",
			"ours":     "mv ../.cloned ../away; ln -s OUT ../.cloned",
			"lock":     "mv postmaster.pid away.pid; ln -s OUT/secret postmaster.pid",
			"settings": "ln -sf OUT/secret postgresql.conf; ln -sf OUT/secret postgresql.auto.conf",
			"version":  "ln -sf OUT/secret PG_VERSION; ln -sf OUT/secret global/pg_control",
			"logs":     "mkdir -p log; rm -rf log pg_stat; ln -s OUT log; ln -s OUT pg_stat",
			"deep":     "i=0; while [ $i -lt 60 ]; do mkdir d && cd d; i=$((i+1)); done",
			"modes":    "cp /bin/true base/true; chmod 6755 base/true; chmod 0 base/1; chmod 0777 ..",
		} {
			t.Run(name, func(t *testing.T) {
				c := e.Create("evil")
				script := strings.NewReplacer("OUT", o.Dir, "'", "''").Replace("set -e; " + plant)
				harness.ExecSQL(t, c.Endpoint.URL, "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; "+script+"'")
				o.Forget() // a process may look at what it links to
				for _, args := range [][]string{
					{"changes", "evil"}, {"show", "evil"}, {"snapshot", "evil@v1"}, {"create", "fork", "--from", "evil@v1"},
					{"golden", "create", "theirs", "--from-clone", "evil"},
					{"suspend", "evil"}, {"resume", "evil"}, {"reset", "evil"}, {"undo", "evil"},
				} {
					// Some of it can't work any more. That it says so is enough.
					r := e.Try(args...)
					if r.Code == 1 || len(r.Stderr) > 16<<10 {
						t.Errorf("%v: exit %d: %.2000s", args, r.Code, r.Stderr)
					}
					o.Untouched(t, strings.Join(args, " "))
				}
				if e.PID() != pid {
					t.Error("the daemon was started again")
				}
				if n := harness.QueryInt(t, other.Endpoint.URL, "SELECT 1"); n != 1 {
					t.Errorf("another clone says %d", n)
				}
				for _, clone := range e.List() {
					if clone.Name != other.Name {
						e.Ctl("rm", clone.Name, "--now")
					}
				}
				if r := e.Try("golden", "rm", "theirs"); r.Code != 0 && r.Code != 3 {
					t.Errorf("golden rm: exit %d: %s", r.Code, r.Stderr)
				}
				o.Untouched(t, "rm")
			})
		}
		e.Ctl("rm", "other", "--now")
		e.Ctl("golden", "rm", "shop")
		e.CheckNothingLeft()
	})
}
