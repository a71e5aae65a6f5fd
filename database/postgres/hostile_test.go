package postgres

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/need"
	"github.com/cloned-db/cloned/test/harness"
)

// TestOutsideNotices: the watch sees what it is there for.
func TestOutsideNotices(t *testing.T) {
	o := harness.NewOutside(t, tempDir(t))
	o.Untouched(t, "nothing")
	for _, touch := range []string{"cat secret", "touch new", "ls", "echo x >more.conf", "exec 3<>pipe"} {
		run(t, "sh", "-c", "cd "+o.Dir+" && "+touch+" >/dev/null")
		if len(o.Touched()) == 0 {
			t.Errorf("%s is not noticed", touch)
		}
	}
}

// TestHostileFiles: a data directory whose files are links, pipes, devices and
// the like is refused, and nothing outside, and none of them, is opened.
func TestHostileFiles(t *testing.T) {
	need.Root(t)
	good := newSource(t)
	w := processWorld(t)
	o := harness.NewOutside(t, tempDir(t))
	link := func(to string, names ...string) func(dir string) {
		return func(dir string) {
			for _, name := range names {
				run(t, "rm", "-rf", filepath.Join(dir, name))
				run(t, "ln", "-s", o.Dir+to, filepath.Join(dir, name))
			}
		}
	}
	node := func(name string, args ...string) func(dir string) {
		return func(dir string) {
			path := filepath.Join(dir, name)
			run(t, "rm", "-rf", path)
			run(t, append([]string{"mknod", path}, args...)...)
			o.Watch(path, unix.IN_OPEN)
		}
	}
	for name, plant := range map[string]func(dir string){
		"version":                link("/secret", "PG_VERSION"),
		"control":                link("/secret", "global/pg_control"),
		"settings":               link("/secret", confFile),
		"settings by the server": link("/secret", autoFile),
		"log":                    link("", "pg_wal"),
		"data":                   link("", "base"),
		"tablespace":             link("", "pg_tblspc/16400"),
		"transactions":           link("", "pg_xact"),
		"slots":                  link("", "pg_replslot"),
		"the server's log":       link("", "log"),
		"lock file":              link("/secret", "postmaster.pid"),
		"all of it":              link("/secret", "postmaster.pid", "postmaster.opts", "pg_hba.conf", "pg_ident.conf", "server.key", "backup_label", "standby.signal", "recovery.conf", "current_logfiles"),
		"hidden":                 link("", ".cloned"),
		"pipe for the version":   node("PG_VERSION", "p"),
		"pipe for the control":   node("global/pg_control", "p"),
		"pipe for settings":      node(confFile, "p"),
		"device for the version": node("PG_VERSION", "c", "1", "3"),
		"device for the control": node("global/pg_control", "c", "1", "5"),
		"device for settings":    node(autoFile, "b", "7", "200"),
		"device for the map":     node("tablespace_map", "c", "1", "5"),
		"device":                 node("base/1/1259", "c", "1", "5"),
		"socket": func(dir string) {
			l, err := net.Listen("unix", filepath.Join(dir, "s"))
			must(t, err)
			t.Cleanup(func() { l.Close() })
		},
		"hard link to somebody's":  func(dir string) { must(t, os.Link("/etc/passwd", filepath.Join(dir, "base/passwd"))) },
		"set-user-ID":              func(dir string) { run(t, "install", "-m", "4755", "/bin/true", filepath.Join(dir, "base/true")) },
		"an enormous version":      func(dir string) { run(t, "truncate", "-s", "1T", filepath.Join(dir, "PG_VERSION")) },
		"an enormous control file": func(dir string) { run(t, "truncate", "-s", "1T", filepath.Join(dir, "global/pg_control")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(sameFilesystem(t), "data")
			run(t, "cp", "-a", good.dir, dir)
			plant(dir)
			src := database.Source{Kind: database.SourceDirectory, Directory: dir}
			_, _, err := w.engine.Probe(t.Context(), src)
			if err == nil || errs.Is(err, errs.Internal) || errs.As(err).Phase != phaseProbe {
				t.Errorf("probe: %v", err)
			}
			v := w.newVolume()
			err = w.engine.Fill(t.Context(), w.rt, database.FillRequest{Volume: v, Source: src, Progress: w.log})
			if err == nil || errs.Is(err, errs.Internal) {
				t.Errorf("fill: %v", err)
			}
			if left, err := os.ReadDir(v.Path); err != nil || len(left) > 0 {
				t.Errorf("left in the volume: %v, %v", left, err)
			}
			if _, err := w.engine.Inspect(t.Context(), filepath.Dir(dir), "data"); err == nil || errs.Is(err, errs.Internal) {
				t.Errorf("inspect: %v", err)
			}
			o.Untouched(t, name)
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sameFilesystem is a directory on the filesystem of /etc, for hard links.
func sameFilesystem(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/etc", ".cloned-test-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chmod(dir, 0o755))
	return dir
}

// TestHugeSizes: sizes that do not fit add up to no room, not to less than none.
func TestHugeSizes(t *testing.T) {
	c := contents{Size: 1}
	dir := t.TempDir()
	for i := range 3 {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		must(t, err)
		defer f.Close()
		for size := int64(1<<63 - 1); size > 1<<40 && f.Truncate(size) != nil; size >>= 1 {
		}
	}
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	if c, err = scan(t.Context(), root, "."); err != nil || c.Size < 1<<40 {
		t.Errorf("%d, %v", c.Size, err)
	}
}

// hooks are settings by which a data directory would have a server run, load,
// read or write something outside, or call somebody.
func hooks(o *harness.Outside) string {
	touch := func(name string) string { return "touch " + o.Dir + "/" + name }
	var b strings.Builder
	for _, s := range [][2]string{
		{"archive_mode", "always"}, {"archive_command", touch("archive")}, {"archive_library", o.Dir + "/evil.so"},
		{"restore_command", touch("restore") + "; false"}, {"archive_cleanup_command", touch("cleanup")}, {"recovery_end_command", touch("end")},
		{"primary_conninfo", fmt.Sprintf("host=127.0.0.1 port=%d user=x", o.Port)}, {"primary_slot_name", "x"},
		{"ssl", "on"}, {"ssl_passphrase_command", touch("passphrase")}, {"ssl_key_file", o.Dir + "/secret"}, {"ssl_cert_file", o.Dir + "/secret"},
		{"shared_preload_libraries", o.Dir + "/evil.so, evil"}, {"session_preload_libraries", o.Dir + "/evil.so"}, {"local_preload_libraries", "evil"},
		{"dynamic_library_path", o.Dir}, {"jit_provider", o.Dir + "/evil"}, {"oauth_validator_libraries", o.Dir + "/evil"},
		{"logging_collector", "on"}, {"log_directory", o.Dir}, {"log_filename", "evil.log"}, {"log_destination", "stderr,csvlog"},
		{"unix_socket_directories", o.Dir}, {"listen_addresses", "*"}, {"port", "5433"}, {"external_pid_file", o.Dir + "/pid"},
		{"data_directory", o.Dir}, {"hba_file", o.Dir + "/hba"}, {"ident_file", o.Dir + "/hba"}, {"config_file", o.Dir + "/secret"},
		{"krb_server_keyfile", o.Dir + "/secret"}, {"stats_temp_directory", o.Dir}, {"extension_control_path", o.Dir},
		{"pre_auth_delay", "600"}, {"post_auth_delay", "600"},
	} {
		fmt.Fprintf(&b, "%s = %s\n", s[0], quoteConf(s[1]))
	}
	for _, include := range []string{"include", "include_if_exists"} {
		fmt.Fprintf(&b, "%s '%s/secret'\n", include, o.Dir)
	}
	fmt.Fprintf(&b, "include_dir '%s'\ninclude '/etc/passwd'\ninclude '../../../etc/passwd'\n", o.Dir)
	return b.String()
}

// sabotage has a database do in each way that SQL knows something when others
// use it. The canary is a file on the host if it is touched outside of a
// container, and one in the container's /tmp otherwise.
func sabotage(s *source, o *harness.Outside) {
	s.sql("postgres", "CREATE DATABASE shop", "CREATE ROLE app LOGIN SUPERUSER")
	program := func(name string) string {
		return fmt.Sprintf("COPY (SELECT 1) TO PROGRAM 'touch %s/%s'", o.Dir, name)
	}
	for _, db := range []string{"postgres", "shop", "template1"} {
		s.sql(db,
			"CREATE SCHEMA evil",
			"CREATE FUNCTION evil.run() RETURNS int LANGUAGE plpgsql AS $$ BEGIN "+program("shadow")+"; RETURN 1; END $$",
			// What stands in front of the server's own, for who looks there first.
			"CREATE FUNCTION evil.format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS $$ SELECT evil.run()::text $$",
			"CREATE FUNCTION evil.to_regclass(text) RETURNS regclass LANGUAGE sql AS $$ SELECT evil.run()::regclass $$",
			"CREATE FUNCTION evil.current_database() RETURNS name LANGUAGE sql AS $$ SELECT evil.run()::text::name $$",
			"CREATE FUNCTION evil.eq(oid, oid) RETURNS bool LANGUAGE sql AS $$ SELECT evil.run() = 2 $$",
			"CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil.eq)",
			"CREATE VIEW evil.pg_database AS SELECT evil.run() AS oid, 'x'::name AS datname",
			"CREATE VIEW evil.pg_roles AS SELECT evil.run()::text AS rolname",
			"CREATE FUNCTION public.pg_switch_wal() RETURNS int LANGUAGE sql AS $$ SELECT evil.run() $$",
			// What fires in every session, ours included.
			"CREATE FUNCTION evil.ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN "+program("event")+"; END $$",
			"CREATE EVENT TRIGGER evil_always ON ddl_command_start EXECUTE FUNCTION evil.ddl()",
			"ALTER EVENT TRIGGER evil_always ENABLE ALWAYS",
			"CREATE EVENT TRIGGER evil_replica ON ddl_command_end EXECUTE FUNCTION evil.ddl()",
			"ALTER EVENT TRIGGER evil_replica ENABLE REPLICA",
		)
		run(s.t, "sh", "-c", "rm -f "+o.Dir+"/event") // the trigger's own making fired it
	}
	s.sql("shop",
		"ALTER EVENT TRIGGER evil_always DISABLE",
		"CREATE SCHEMA cron; CREATE TABLE cron.job (active boolean); INSERT INTO cron.job VALUES (true)",
		"CREATE FUNCTION evil.row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "+program("row")+"; RETURN NEW; END $$",
		"CREATE TRIGGER evil BEFORE UPDATE ON cron.job FOR EACH ROW EXECUTE FUNCTION evil.row(); ALTER TABLE cron.job ENABLE ALWAYS TRIGGER evil",
		"CREATE RULE evil AS ON UPDATE TO cron.job DO ALSO SELECT evil.run(); ALTER TABLE cron.job ENABLE ALWAYS RULE evil",
		fmt.Sprintf("CREATE SUBSCRIPTION evil CONNECTION 'host=127.0.0.1 port=%d user=x' PUBLICATION p WITH (connect = false); ALTER SUBSCRIPTION evil ENABLE", o.Port),
		"CREATE EXTENSION postgres_fdw; CREATE EXTENSION dblink",
		fmt.Sprintf("CREATE SERVER evil FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '%d')", o.Port),
		"CREATE USER MAPPING FOR PUBLIC SERVER evil OPTIONS (user 'u', password 'p')",
		"CREATE FOREIGN TABLE far (n int) SERVER evil",
		fmt.Sprintf("CREATE VIEW farther AS SELECT * FROM dblink('host=127.0.0.1 port=%d user=x password=y', 'SELECT 1') AS t (n int)", o.Port),
		"ALTER EVENT TRIGGER evil_always ENABLE ALWAYS",
	)
	// At once, for after it nobody gets in any more.
	s.sql("postgres", strings.Join([]string{
		"ALTER ROLE ALL SET search_path = evil, public, pg_catalog",
		"ALTER DATABASE shop SET search_path = evil, public, pg_catalog",
		"ALTER DATABASE shop SET role = 'app'",
		"ALTER DATABASE shop SET lock_timeout = 1",
		fmt.Sprintf("ALTER DATABASE shop SET session_preload_libraries = '%s/evil.so'", o.Dir),
		"ALTER ROLE ALL SET local_preload_libraries = 'evil'",
		fmt.Sprintf("ALTER ROLE ALL SET dynamic_library_path = '%s'", o.Dir),
	}, "; "))
}

// TestHooks: none of what a data directory has its server do when it starts, when
// it recovers, and when somebody logs in, is done, on the way to a clone.
func TestHooks(t *testing.T) {
	s := newSource(t)
	o := harness.NewOutside(t, tempDir(t))
	s.start("-c", "wal_level=logical")
	sabotage(s, o)
	s.stop()
	s.append(confFile, hooks(o))
	s.append(autoFile, hooks(o))
	for _, f := range []string{"restore", "standby"} {
		s.append(f+".signal", "")
	}
	run(t, "sh", "-c", "rm -f "+o.Dir+"/event "+o.Dir+"/row "+o.Dir+"/shadow")
	o.Forget() // what it took to make all that

	eachRuntime(t, func(t *testing.T, w *world) {
		facts, _, err := w.engine.Probe(t.Context(), s.directory())
		must(t, err)
		if !strings.Contains(strings.Join(facts.Warnings, "\n"), o.Dir) {
			t.Errorf("no warning of what is outside: %q", facts.Warnings)
		}
		o.Untouched(t, "probe")
		v, facts, prepared := w.golden(s.directory(), nil)
		o.Untouched(t, "preparation")
		conf, err := os.ReadFile(filepath.Join(v.Path, v.DataDir, confFile))
		if err != nil || strings.Contains(string(conf), o.Dir) {
			t.Errorf("the settings still say %s: %v\n%s", o.Dir, err, conf)
		}
		c := w.clone(v, facts, prepared, nil)
		o.Untouched(t, "the start of a clone")
		for _, trigger := range c.sql("SELECT evtname, evtenabled FROM pg_event_trigger ORDER BY 1") {
			if want := map[string]string{"evil_always": "A", "evil_replica": "R"}[trigger[0]]; trigger[1] != want {
				t.Errorf("event trigger %s is %s, and was %s", trigger[0], trigger[1], want)
			}
		}
		if got := c.sql("SELECT count(*) FROM cron.job WHERE active")[0][0]; got != "0" {
			t.Errorf("%s jobs are active", got)
		}
	})
}

// TestPlanted: the user of a clone puts links and pipes in the place of what we
// read of its volume while it runs, and when it becomes a golden. Nothing outside
// is touched, and nothing is waited for.
func TestPlanted(t *testing.T) {
	s := newSource(t)
	eachRuntime(t, func(t *testing.T, w *world) {
		v, facts, prepared := w.golden(s.directory(), nil)
		// The commands run in the data directory; ".." is the volume's root.
		for name, plant := range map[string]string{
			"nothing": "true",
			"links":   "ln -sf OUT/secret ../.cloned/readahead.json; rm -rf log pg_stat pg_replslot; for d in log pg_stat pg_replslot; do ln -s OUT $d; done; ln -sf OUT/secret postgresql.conf; ln -sf OUT/secret postgresql.auto.conf",
			"pipes":   "rm ../.cloned/readahead.json; mkfifo ../.cloned/readahead.json; mv postmaster.pid away.pid; mkfifo postmaster.pid",
			"lock":    "mv postmaster.pid away.pid; ln -s OUT/secret postmaster.pid; echo \"include ''OUT/secret''\" >postgresql.conf",
			"socket":  "mv ../.cloned/run ../.cloned/away; ln -s OUT ../.cloned/run",
			"ours":    "mv ../.cloned ../away; ln -s OUT ../.cloned",
			"version": "ln -sf OUT/secret PG_VERSION",
			"control": "ln -sf OUT/secret global/pg_control; ln -sf OUT/secret global/pg_filenode.map",
		} {
			if name == "control" && !w.rt.Capabilities().Isolated {
				continue // a plain process sees the host, and follows these itself
			}
			t.Run(name, func(t *testing.T) {
				o := harness.NewOutside(t, tempDir(t))
				c := w.clone(v, facts, prepared, nil)
				c.sql("COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; " + strings.ReplaceAll(plant, "OUT", o.Dir) + "; true'")
				o.Touched() // who links to something may look at it
				w.engine.ReadAhead(c.target)
				for _, ask := range []func() error{
					func() error { return w.engine.Ready(t.Context(), c.target) },
					func() error { return w.engine.Checkpoint(t.Context(), c.target) },
					func() error { _, err := w.engine.Relations(t.Context(), c.target, nil); return err },
				} {
					if err := ask(); err != nil && errs.Is(err, errs.Internal) || err != nil && name == "nothing" {
						t.Errorf("%v", err)
					}
				}
				o.Untouched(t, "asking")
				// As the volume of a golden that is published from the clone.
				must(t, w.rt.Remove(t.Context(), c.target.ID))
				o.Touched() // a plain process is not kept from following its own links
				made := v
				made.Path, made.TaskID = c.volume, "t-"+c.target.ID
				f, err := w.engine.Inspect(t.Context(), made.Path, made.DataDir)
				if err == nil {
					_, err = w.engine.Prepare(t.Context(), w.rt, database.PrepareRequest{Volume: made, Facts: f, Progress: w.log})
				}
				if err != nil && errs.Is(err, errs.Internal) || err != nil && name == "nothing" {
					t.Errorf("%v", err)
				}
				o.Untouched(t, "preparation")
			})
		}
	})
}
