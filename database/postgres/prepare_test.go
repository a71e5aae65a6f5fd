package postgres

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/internal/need"
)

// production gives a source everything that a clone must not have.
func production(t testing.TB) *source {
	s := newSource(t)
	s.start("-c", "shared_preload_libraries=pg_stat_statements", "-c", "wal_level=logical", "-c", "max_prepared_transactions=10", "-c", "max_connections=150")
	s.sql("postgres",
		"CREATE DATABASE shop",
		"CREATE DATABASE \"odd \"\"name\"",
		"CREATE ROLE app LOGIN PASSWORD 'app-password'",
		"CREATE ROLE cloned NOLOGIN PASSWORD 'old'",
		"ALTER ROLE cloned VALID UNTIL '2001-01-01'",
		"ALTER ROLE cloned SET default_transaction_read_only = on",
		"ALTER DATABASE shop SET session_preload_libraries = 'auto_explain'",
		"ALTER ROLE app IN DATABASE shop SET session_preload_libraries = 'auto_explain'",
		"ALTER SYSTEM SET archive_command = 'cp %p /archive/%f'",
		"ALTER SYSTEM SET archive_mode = 'on'",
		"ALTER SYSTEM SET primary_conninfo = 'host=production password=secret'",
		"ALTER SYSTEM SET synchronous_standby_names = '*'",
		"ALTER SYSTEM SET work_mem = '5MB'",
	)
	s.sql("template1", "CREATE SUBSCRIPTION \"in Template\" CONNECTION 'host=127.0.0.1 port=1 password=secret' PUBLICATION p WITH (connect = false)")
	s.sql("shop",
		"CREATE TABLE item (id bigserial PRIMARY KEY, name text); INSERT INTO item (name) SELECT repeat('x', 100) FROM generate_series(1, 20000)",
		"CREATE SCHEMA cron; CREATE TABLE cron.job (jobid bigint, active boolean); INSERT INTO cron.job VALUES (1, true), (2, true), (3, false)",
		"CREATE FUNCTION boom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'boom'; END $$",
		"CREATE TRIGGER boom BEFORE UPDATE ON cron.job FOR EACH ROW EXECUTE FUNCTION boom()",
		"CREATE SCHEMA pgagent; CREATE TABLE pgagent.pga_job (id int, jobenabled text)", // not what it is called
		"CREATE SUBSCRIPTION s1 CONNECTION 'host=127.0.0.1 port=1 password=secret' PUBLICATION p WITH (connect = false)",
		"CREATE EXTENSION postgres_fdw",
		"CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'production')",
		"CREATE USER MAPPING FOR app SERVER other OPTIONS (user 'u', password 'secret')",
		"CREATE USER MAPPING FOR PUBLIC SERVER other OPTIONS (user 'u', password 'secret')",
		"SELECT pg_create_logical_replication_slot('out', 'pgoutput')",
		"SELECT pg_create_physical_replication_slot('standby', true)",
		"BEGIN; INSERT INTO item (name) VALUES ('half'); PREPARE TRANSACTION 'it''s'",
		"ALTER ROLE ALL SET default_transaction_read_only = on",
	)
	return s
}

func (s *source) directory() database.Source {
	return database.Source{Kind: database.SourceDirectory, Directory: s.dir}
}

// TestDefused prepares a crashed copy of a production that has everything, and
// looks into a clone.
func TestDefused(t *testing.T) {
	s := production(t)
	s.sql("shop", "SET transaction_read_only = off; CHECKPOINT; INSERT INTO item (name) SELECT 'after' FROM generate_series(1, 1000)")
	secrets := []string{"password=secret", "app-password"}
	for _, row := range s.sql("shop", "SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL") {
		secrets = append(secrets, row[0])
	}
	s.end(syscall.SIGQUIT) // an immediate shutdown: the next start recovers
	// What a server like ours does not take, and that of production did.
	s.append(confFile, `
shared_preload_libraries = 'pg_stat_statements, pg_cron, no_such_library'
pg_stat_statements.max = 500
lc_messages = 'xx_XX'
no_such_setting = 1
include '/etc/postgresql/common.conf'
`)
	s.append("server.key", "private")
	if err := os.Mkdir(filepath.Join(s.dir, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.append("log/postgresql.log", "SELECT 'a secret'")
	eachRuntime(t, func(t *testing.T, w *world) {
		facts, size, err := w.engine.Probe(t.Context(), s.directory())
		if err != nil {
			t.Fatal(err)
		}
		if facts.Major != major(t) || facts.CleanShutdown || facts.Standby || size < 20<<20 {
			t.Errorf("%+v, %d bytes", facts, size)
		}
		for _, word := range []string{"archive_command", "primary_conninfo", "pg_cron"} {
			if !strings.Contains(strings.Join(facts.Warnings, "\n"), word) {
				t.Errorf("no warning of %s in %q", word, facts.Warnings)
			}
		}
		if strings.Contains(strings.Join(facts.Warnings, "\n"), "secret") {
			t.Errorf("a password in %q", facts.Warnings)
		}
		v, facts, prepared := w.golden(s.directory(), func(r *database.PrepareRequest) { r.Vacuum = true })
		checkPrepared(t, prepared)
		c := w.clone(v, facts, prepared, nil)
		checkHarmless(t, c)
		checkFiles(t, c, secrets)
		c.checkLog()
	})
}

func checkPrepared(t *testing.T, p database.Prepared) {
	t.Helper()
	if p.Database != "shop" || !slices.Contains(p.Databases, `odd "name`) || p.SizeBytes < 20<<20 {
		t.Errorf("%+v", p)
	}
	if !slices.Equal(p.PreloadLibraries, []string{"pg_stat_statements"}) {
		t.Errorf("libraries %q", p.PreloadLibraries)
	}
	all := strings.Join(p.Defused, "\n")
	for _, word := range []string{
		"pg_cron", "no_such_library", "lc_messages", "archive_command", "primary_conninfo", "synchronous_standby_names",
		`subscription "in Template" in template1`, "subscription s1 in shop", "prepared transaction 'it''s'",
		"2 jobs in cron.job", "login of PUBLIC", "login of app", "passwords of 2 roles", "setting session_preload_libraries of database shop", "setting session_preload_libraries of role app in database shop", "role cloned", "server.key",
	} {
		if !strings.Contains(all, word) {
			t.Errorf("%q is not in what was defused:\n%s", word, all)
		}
	}
	if strings.Contains(all, "secret") {
		t.Errorf("a password in %s", all)
	}
}

func checkHarmless(t *testing.T, c *clone) {
	t.Helper()
	for sql, want := range map[string]string{
		"SELECT count(*) FROM item WHERE name <> 'half'":                               "21000",
		"SELECT count(*) FROM item WHERE name = 'half'":                                "0",
		"SELECT relallvisible = relpages FROM pg_class WHERE relname = 'item'":         "t",
		"SELECT count(*) FROM pg_subscription":                                         "0",
		"SELECT count(*) FROM pg_replication_slots":                                    "0",
		"SELECT count(*) FROM pg_prepared_xacts":                                       "0",
		"SELECT count(*) FROM pg_user_mapping":                                         "0",
		"SELECT count(*) FROM cron.job WHERE active":                                   "0",
		"SELECT string_agg(rolname, ',') FROM pg_authid WHERE rolpassword IS NOT NULL": "cloned",
		"SELECT count(*) FROM pg_trigger WHERE tgname = 'boom' AND tgenabled = 'O'":    "1",
		"SHOW archive_mode":                            "off",
		"SHOW archive_command":                         "(disabled)",
		"SHOW primary_conninfo":                        "",
		"SHOW synchronous_standby_names":               "",
		"SHOW shared_preload_libraries":                "pg_stat_statements",
		"SHOW pg_stat_statements.max":                  "500",
		"SHOW work_mem":                                "5MB",
		"SHOW max_prepared_transactions":               "10",
		"SHOW max_connections":                         "100",
		"SHOW fsync":                                   "off",
		"SHOW wal_recycle":                             "off",
		"SHOW cluster_name":                            c.target.ID,
		"SHOW default_transaction_read_only":           "on",
		"SELECT current_setting('cloned.instance_id')": c.target.ID,
		"SELECT pg_is_in_recovery()":                   "f",
		"SELECT current_user":                          "cloned",
		"SHOW is_superuser":                            "on",
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE '%cron%' OR backend_type LIKE 'logical%'":             "0",
		"SELECT string_agg(DISTINCT sourcefile, ',') LIKE '%/postgresql.conf' FROM pg_settings WHERE sourcefile IS NOT NULL": "t",
	} {
		if rows := c.sql(sql); rows[0][0] != want {
			t.Errorf("%s: %q and not %q", sql, rows[0][0], want)
		}
	}
}

// checkFiles looks for what a user could read in the files of a clone.
func checkFiles(t *testing.T, c *clone, secrets []string) {
	t.Helper()
	for _, name := range []string{"server.key", "pg_hba.conf", "log/postgresql.log", "standby.signal", "recovery.signal"} {
		if _, err := os.Lstat(filepath.Join(c.volume, "data", name)); !os.IsNotExist(err) {
			t.Errorf("%s is there: %v", name, err)
		}
	}
	err := filepath.WalkDir(c.volume, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		for _, secret := range secrets {
			if strings.Contains(string(content), secret) {
				t.Errorf("%s has %q in it", path, secret)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestInPlace prepares a volume whose root is the data directory, as the dataset
// of a server that somebody else runs may be.
func TestInPlace(t *testing.T) {
	s := newSource(t)
	s.start("-c", "wal_level=logical")
	s.sql("postgres", "CREATE TABLE item AS SELECT generate_series(1, 1000) AS n",
		"SELECT pg_create_logical_replication_slot('out', 'pgoutput')")
	snapshot := filepath.Join(tempDir(t), "snapshot")
	s.freeze(func() { run(t, "cp", "-a", s.dir, snapshot) })
	eachRuntime(t, func(t *testing.T, w *world) {
		v := w.newVolume()
		v.DataDir = "."
		run(t, "cp", "-a", snapshot+"/.", v.Path)
		facts, prepared := w.prepare(v, nil)
		if facts.CleanShutdown || facts.Standby || !slices.Contains(prepared.Defused, `replication slot "out"`) {
			t.Errorf("%+v\n%+v", facts, prepared)
		}
		c := w.clone(v, facts, prepared, nil)
		if rows := c.sql("SELECT count(*) FROM item"); rows[0][0] != "1000" {
			t.Error(rows)
		}
		c.checkLog()
		// Only who asks for it gets a server that counts statements.
		if !prepared.CanCount || c.sql("SHOW shared_preload_libraries")[0][0] != "" {
			t.Errorf("can count: %v; it loads %v", prepared.CanCount, c.sql("SHOW shared_preload_libraries"))
		}
		counting := w.clone(v, facts, prepared, func(r *database.StartRequest) { r.CountStatements = true })
		counting.sql("CREATE EXTENSION pg_stat_statements")
		counting.sql("SELECT count(*) + 7 FROM item")
		if rows := counting.sql("SELECT calls FROM pg_stat_statements WHERE query LIKE 'SELECT count(*) + $1 FROM item'"); len(rows) != 1 || rows[0][0] != "1" {
			t.Errorf("counted: %v", rows)
		}
		counting.checkLog()
	})
}

// TestUnprivileged goes the whole way as a user who is not root: everything then
// belongs to that user.
func TestUnprivileged(t *testing.T) {
	need.Root(t)
	dir := tempDir(t)
	binary := filepath.Join(dir, "test")
	run(t, "cp", os.Args[0], binary)
	cmd := exec.CommandContext(t.Context(), binary, "-test.v", "-test.run", "^(TestDefused|TestBaseBackup|TestProbeBadDirectory)$/^(process|running)$")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential(t, "nobody")}
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TMPDIR=/tmp", "CLONED_REQUIRE=postgres"}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestDefused/process") {
		t.Errorf("%v\n%s", err, out)
	}
}
