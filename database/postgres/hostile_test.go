package postgres

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/need"
)

// outside is a directory of the host, in which nobody has any business, and a
// port on which nobody should call. Whatever opens, writes or makes something
// there is noticed.
type outside struct {
	t      *testing.T
	dir    string
	port   int
	notify int // inotify(7)
	calls  atomic.Int64
}

func newOutside(t *testing.T) *outside {
	t.Helper()
	o := &outside{t: t, dir: tempDir(t)}
	for name, content := range map[string]string{
		"secret": "work_mem = '77MB'\n", "more.conf": "work_mem = '78MB'\n", "evil.so": "no library", "libpqwalreceiver.so": "none either", "hba": "local all all trust\n",
	} {
		if err := os.WriteFile(filepath.Join(o.dir, name), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "mkfifo", filepath.Join(o.dir, "pipe"))
	run(t, "chmod", "-R", "a+rwX", o.dir)
	socket, err := net.Listen("unix", filepath.Join(o.dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	o.count(socket)
	port, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	o.count(port)
	o.port = port.Addr().(*net.TCPAddr).Port
	if o.notify, err = unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(o.notify) })
	o.watch(o.dir, unix.IN_OPEN|unix.IN_MODIFY|unix.IN_ATTRIB|unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVE)
	return o
}

// watch has it noticed if that is done to a file, or to one in a directory.
func (o *outside) watch(path string, what uint32) {
	o.t.Helper()
	if _, err := unix.InotifyAddWatch(o.notify, path, what); err != nil {
		o.t.Fatal(err)
	}
}

// touched is what was done since the last time, one for each event.
func (o *outside) touched() (events []string) {
	buf := make([]byte, 1<<20)
	n, err := unix.Read(o.notify, buf)
	if err != nil && err != unix.EAGAIN {
		o.t.Fatal(err)
	}
	for buf = buf[:max(n, 0)]; len(buf) >= unix.SizeofInotifyEvent; {
		mask, size := binary.NativeEndian.Uint32(buf[4:]), unix.SizeofInotifyEvent+binary.NativeEndian.Uint32(buf[12:])
		if mask&unix.IN_IGNORED == 0 { // which only says that what was watched has gone
			events = append(events, fmt.Sprintf("%#x %s", mask, unix.ByteSliceToString(buf[unix.SizeofInotifyEvent:size])))
		}
		buf = buf[size:]
	}
	return events
}

func (o *outside) count(l net.Listener) {
	o.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			o.calls.Add(1)
			c.Close()
		}
	}()
}

// untouched fails if anything was touched since the last time.
func (o *outside) untouched(t *testing.T, after string) {
	t.Helper()
	if events := o.touched(); len(events) > 0 {
		t.Errorf("after %s: what is outside was touched: %q", after, events)
	}
	if n := o.calls.Swap(0); n > 0 {
		t.Errorf("after %s: %d connections were made", after, n)
	}
}

// TestOutsideNotices: the watch sees what it is there for.
func TestOutsideNotices(t *testing.T) {
	o := newOutside(t)
	o.untouched(t, "nothing")
	for _, touch := range []string{"cat secret", "touch new", "ls", "echo x >more.conf", "exec 3<>pipe"} {
		run(t, "sh", "-c", "cd "+o.dir+" && "+touch+" >/dev/null")
		if len(o.touched()) == 0 {
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
	o := newOutside(t)
	link := func(to string, names ...string) func(dir string) {
		return func(dir string) {
			for _, name := range names {
				run(t, "rm", "-rf", filepath.Join(dir, name))
				run(t, "ln", "-s", o.dir+to, filepath.Join(dir, name))
			}
		}
	}
	node := func(name string, args ...string) func(dir string) {
		return func(dir string) {
			path := filepath.Join(dir, name)
			run(t, "rm", "-rf", path)
			run(t, append([]string{"mknod", path}, args...)...)
			o.watch(path, unix.IN_OPEN)
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
			o.untouched(t, name)
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
func (o *outside) hooks() string {
	touch := func(name string) string { return "touch " + o.dir + "/" + name }
	var b strings.Builder
	for _, s := range [][2]string{
		{"archive_mode", "always"}, {"archive_command", touch("archive")}, {"archive_library", o.dir + "/evil.so"},
		{"restore_command", touch("restore") + "; false"}, {"archive_cleanup_command", touch("cleanup")}, {"recovery_end_command", touch("end")},
		{"primary_conninfo", fmt.Sprintf("host=127.0.0.1 port=%d user=x", o.port)}, {"primary_slot_name", "x"},
		{"ssl", "on"}, {"ssl_passphrase_command", touch("passphrase")}, {"ssl_key_file", o.dir + "/secret"}, {"ssl_cert_file", o.dir + "/secret"},
		{"shared_preload_libraries", o.dir + "/evil.so, evil"}, {"session_preload_libraries", o.dir + "/evil.so"}, {"local_preload_libraries", "evil"},
		{"dynamic_library_path", o.dir}, {"jit_provider", o.dir + "/evil"}, {"oauth_validator_libraries", o.dir + "/evil"},
		{"logging_collector", "on"}, {"log_directory", o.dir}, {"log_filename", "evil.log"}, {"log_destination", "stderr,csvlog"},
		{"unix_socket_directories", o.dir}, {"listen_addresses", "*"}, {"port", "5433"}, {"external_pid_file", o.dir + "/pid"},
		{"data_directory", o.dir}, {"hba_file", o.dir + "/hba"}, {"ident_file", o.dir + "/hba"}, {"config_file", o.dir + "/secret"},
		{"krb_server_keyfile", o.dir + "/secret"}, {"stats_temp_directory", o.dir}, {"extension_control_path", o.dir},
		{"pre_auth_delay", "600"}, {"post_auth_delay", "600"},
	} {
		fmt.Fprintf(&b, "%s = %s\n", s[0], quoteConf(s[1]))
	}
	for _, include := range []string{"include", "include_if_exists"} {
		fmt.Fprintf(&b, "%s '%s/secret'\n", include, o.dir)
	}
	fmt.Fprintf(&b, "include_dir '%s'\ninclude '/etc/passwd'\ninclude '../../../etc/passwd'\n", o.dir)
	return b.String()
}

// sabotage has a database do in each way that SQL knows something when others
// use it. The canary is a file on the host if it is touched outside of a
// container, and one in the container's /tmp otherwise.
func sabotage(s *source, o *outside) {
	s.sql("postgres", "CREATE DATABASE shop", "CREATE ROLE app LOGIN SUPERUSER")
	program := func(name string) string {
		return fmt.Sprintf("COPY (SELECT 1) TO PROGRAM 'touch %s/%s'", o.dir, name)
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
		run(s.t, "sh", "-c", "rm -f "+o.dir+"/event") // the trigger's own making fired it
	}
	s.sql("shop",
		"ALTER EVENT TRIGGER evil_always DISABLE",
		"CREATE SCHEMA cron; CREATE TABLE cron.job (active boolean); INSERT INTO cron.job VALUES (true)",
		"CREATE FUNCTION evil.row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "+program("row")+"; RETURN NEW; END $$",
		"CREATE TRIGGER evil BEFORE UPDATE ON cron.job FOR EACH ROW EXECUTE FUNCTION evil.row(); ALTER TABLE cron.job ENABLE ALWAYS TRIGGER evil",
		"CREATE RULE evil AS ON UPDATE TO cron.job DO ALSO SELECT evil.run(); ALTER TABLE cron.job ENABLE ALWAYS RULE evil",
		fmt.Sprintf("CREATE SUBSCRIPTION evil CONNECTION 'host=127.0.0.1 port=%d user=x' PUBLICATION p WITH (connect = false); ALTER SUBSCRIPTION evil ENABLE", o.port),
		"CREATE EXTENSION postgres_fdw; CREATE EXTENSION dblink",
		fmt.Sprintf("CREATE SERVER evil FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '%d')", o.port),
		"CREATE USER MAPPING FOR PUBLIC SERVER evil OPTIONS (user 'u', password 'p')",
		"CREATE FOREIGN TABLE far (n int) SERVER evil",
		fmt.Sprintf("CREATE VIEW farther AS SELECT * FROM dblink('host=127.0.0.1 port=%d user=x password=y', 'SELECT 1') AS t (n int)", o.port),
		"ALTER EVENT TRIGGER evil_always ENABLE ALWAYS",
	)
	// At once, for after it nobody gets in any more.
	s.sql("postgres", strings.Join([]string{
		"ALTER ROLE ALL SET search_path = evil, public, pg_catalog",
		"ALTER DATABASE shop SET search_path = evil, public, pg_catalog",
		"ALTER DATABASE shop SET role = 'app'",
		"ALTER DATABASE shop SET lock_timeout = 1",
		fmt.Sprintf("ALTER DATABASE shop SET session_preload_libraries = '%s/evil.so'", o.dir),
		"ALTER ROLE ALL SET local_preload_libraries = 'evil'",
		fmt.Sprintf("ALTER ROLE ALL SET dynamic_library_path = '%s'", o.dir),
	}, "; "))
}

// TestHooks: none of what a data directory has its server do when it starts, when
// it recovers, and when somebody logs in, is done, on the way to a clone.
func TestHooks(t *testing.T) {
	s := newSource(t)
	o := newOutside(t)
	s.start("-c", "wal_level=logical")
	sabotage(s, o)
	s.stop()
	s.append(confFile, o.hooks())
	s.append(autoFile, o.hooks())
	for _, f := range []string{"restore", "standby"} {
		s.append(f+".signal", "")
	}
	run(t, "sh", "-c", "rm -f "+o.dir+"/event "+o.dir+"/row "+o.dir+"/shadow")
	o.touched() // what it took to make all that
	o.calls.Store(0)
	eachRuntime(t, func(t *testing.T, w *world) {
		facts, _, err := w.engine.Probe(t.Context(), s.directory())
		must(t, err)
		if !strings.Contains(strings.Join(facts.Warnings, "\n"), o.dir) {
			t.Errorf("no warning of what is outside: %q", facts.Warnings)
		}
		o.untouched(t, "probe")
		v, facts, prepared := w.golden(s.directory(), nil)
		o.untouched(t, "preparation")
		conf, err := os.ReadFile(filepath.Join(v.Path, v.DataDir, confFile))
		if err != nil || strings.Contains(string(conf), o.dir) {
			t.Errorf("the settings still say %s: %v\n%s", o.dir, err, conf)
		}
		c := w.clone(v, facts, prepared, nil)
		o.untouched(t, "the start of a clone")
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
