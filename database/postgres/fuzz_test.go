package postgres

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// FuzzInspect looks at a data directory of which every file that is read, and a
// link, are anybody's. What it finds is bounded, and an error is not our fault.
func FuzzInspect(f *testing.F) {
	good := string(makeControl(1300, 288))
	f.Add("15\n", good, "work_mem = 1\ninclude 'a.conf'\n", "include_dir '.'", "../x", "16400 /srv\n", `{"shop": ["base/1", "../../etc/passwd"]}`, "1\n/\n")
	f.Add("9.6", "", "shared_preload_libraries = 'a,b/c,\xff'", "include '/etc/passwd'", "/etc", "", "{", "-1")
	f.Add("15", good, strings.Repeat("=\n", 2000), "ssl_key_file = '.'", ".", "\n\n", `{"shop": 1}`, strings.Repeat("9", 100))
	parent := f.TempDir()
	secret := filepath.Join(parent, "outside")
	if err := os.WriteFile(secret, []byte("stolen = 'yes'\n"), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, version, control, conf, auto, target, spaces, notes, lock string) {
		volume := filepath.Join(parent, "volume")
		must(t, os.RemoveAll(volume))
		for name, content := range map[string]string{
			"PG_VERSION": version, "global/pg_control": control, confFile: conf, autoFile: auto, "a.conf": conf,
			"postmaster.pid": lock, "base/1/x": "", "pg_wal/000000010000000000000001": "", ".cloned/readahead.json": notes,
		} {
			path := filepath.Join(volume, name)
			must(t, os.MkdirAll(filepath.Dir(path), 0o700))
			must(t, os.WriteFile(path, []byte(content), 0o600))
		}
		if spaces != "" {
			must(t, os.WriteFile(filepath.Join(volume, "tablespace_map"), []byte(spaces), 0o600))
		}
		linked := target != "" && len(target) < 1000 && !strings.Contains(target, "\x00")
		if linked {
			must(t, os.Mkdir(filepath.Join(volume, "pg_tblspc"), 0o700))
			must(t, os.Symlink(target, filepath.Join(volume, "pg_tblspc/1")))
			must(t, os.Symlink(secret, filepath.Join(volume, "b.conf")))
		}
		begin := time.Now()
		facts, err := New().Inspect(t.Context(), volume, ".")
		if err != nil && errs.Is(err, errs.Internal) {
			t.Errorf("%v", err)
		}
		if err == nil && (linked || facts.Major < oldest || facts.Major > newest) {
			t.Errorf("%+v", facts)
		}
		if len(facts.Warnings) > maxTold+1 || !utf8.ValidString(strings.Join(facts.Warnings, "")) {
			t.Errorf("%d warnings", len(facts.Warnings))
		}
		root, err := os.OpenRoot(volume)
		must(t, err)
		defer root.Close()
		if found, _ := loadSettings(root); found["stolen"] != "" {
			t.Error("settings were read from outside")
		}
		if pid, running, err := lockHolder(root); err == nil && running && strconv.Itoa(pid) != strings.TrimSpace(strings.Split(lock, "\n")[0]) {
			t.Errorf("process %d of %q", pid, lock)
		}
		instance := database.Target{VolumePath: volume, Database: "shop"}
		New().ReadAhead(instance)
		_ = serverNote(instance)
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// FuzzConnInfo: a connection string is invalid, or says whom it connects to and
// as whom, and names no file of the host; a password in it goes nowhere.
func FuzzConnInfo(f *testing.F) {
	for _, seed := range []string{
		"host=db user=rep", "postgresql://rep@db:5432/app?sslmode=disable", "postgres://db?user=rep", "host='a b' user = x", "user=x host=/run/postgresql",
		"host=db user=x sslrootcert=/etc/shadow", "host=a,b user=x port=1,2", "postgresql://[::1]/?user=x&passfile=/etc/shadow", `host=db user='\'x' port=99999`,
	} {
		f.Add(seed)
	}
	f.Setenv("PGPASSFILE", "/nowhere")
	f.Setenv("PGUSER", "environment")
	f.Setenv("PGHOST", "environment.example")
	f.Fuzz(func(t *testing.T, text string) {
		config, err := parseConnInfo(database.Source{ConnInfo: text, Password: "hunter2"})
		if err != nil {
			if e := errs.As(err); e.Kind != errs.Invalid || e.Field != fieldConnInfo {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if config.Host == "" || config.User == "" || config.Password != "hunter2" {
			t.Errorf("%q connects to %q as %q", text, config.Host, config.User)
		}
		if config.User == "environment" && !strings.Contains(text, "environment") || config.Host == "environment.example" && !strings.Contains(text, "environment") {
			t.Errorf("%q connects to %q as %q, which it does not say", text, config.Host, config.User)
		}
	})
}

// FuzzOutput: what PostgreSQL's programs print, and how files are called, is read
// as what it is or passed over.
func FuzzOutput(f *testing.F) {
	f.Add("12345/67890 kB (18%), 0/1 tablespace", "base/5/16384_fsm.1", "a, b/c, \"d\", $libdir/e.so")
	f.Add("FATAL:  could not access file \"evil\": No such file", "pg_tblspc/1/PG_15_202209061/5/2619", strings.Repeat("a,", 200))
	f.Add("LOG:  unrecognized configuration parameter \"x\" in file", "../base/1/99999999999999999999", "\xff,..,a\"b")
	f.Fuzz(func(t *testing.T, line, file, libraries string) {
		(&backupProgress{report: func(p database.Progress) {
			if p.Done < 0 || p.Total < 0 {
				t.Errorf("%q is %+v", line, p)
			}
		}}).line(line)
		p := &preparation{conf: settings{"x": "1"}, result: database.Prepared{PreloadLibraries: []string{"evil"}}}
		if _, err := p.takeOut([]string{line}); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		_ = message(line)
		if db, node, ok := relationFile(".", file); ok && (db > 1<<32-1 || node > 1<<32-1) {
			t.Errorf("%q is %d of %d", file, node, db)
		}
		load, _ := loadable(splitLibraries(libraries))
		if len(load) > maxLibraries {
			t.Errorf("%d libraries", len(load))
		}
		for _, name := range load {
			if harmful[name] != "" || strings.ContainsAny(name, "/\\'\", \n") || name == "." || name == ".." {
				t.Errorf("%q of %q is loaded", name, libraries)
			}
		}
	})
}

// wire is a connection on which a server says something, whatever it is told.
type wire struct {
	net.Conn
	said *bytes.Reader
}

func (w wire) Read(p []byte) (int, error)       { return w.said.Read(p) }
func (w wire) Write(p []byte) (int, error)      { return len(p), nil }
func (w wire) Close() error                     { return nil }
func (w wire) SetDeadline(time.Time) error      { return nil }
func (w wire) SetReadDeadline(time.Time) error  { return nil }
func (w wire) SetWriteDeadline(time.Time) error { return nil }
func (w wire) RemoteAddr() net.Addr             { return &net.UnixAddr{Name: "/s", Net: "unix"} }

// FuzzServer: whatever a server says, it is rows of the columns that were asked
// for, or an error.
func FuzzServer(f *testing.F) {
	hello := "R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I"
	f.Add([]byte(hello + "T\x00\x00\x00\x06\x00\x00D\x00\x00\x00\x06\x00\x00C\x00\x00\x00\x05\x00Z\x00\x00\x00\x05I"))
	f.Add([]byte(hello + "E\x00\x00\x00\x05\x00Z\x00\x00\x00\x05I"))
	f.Add([]byte(hello + "D\x00\x00\x00\x0b\x00\x01\x00\x00\x00\x01x" + "C\x00\x00\x00\x05\x00Z\x00\x00\x00\x05I"))
	f.Add([]byte("R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"))
	f.Fuzz(func(t *testing.T, said []byte) {
		config, err := loginConfig("shop")
		must(t, err)
		config.Password = "x"
		config.DialFunc = pgconn.DialFunc(bounded(shortAnswers, func(context.Context, string, string) (net.Conn, error) {
			return wire{said: bytes.NewReader(said)}, nil
		}))
		conn, err := pgconn.ConnectConfig(t.Context(), config)
		if err != nil {
			_ = sourceError(err)
			return
		}
		rows, err := query(t.Context(), conn, 1, "SELECT 1")
		if err != nil && len(rows) > 0 {
			t.Errorf("%q and %v", rows, err)
		}
		for _, row := range rows {
			if len(row) != 1 {
				t.Errorf("%q", row)
			}
		}
		closeConn(t.Context(), conn)
	})
}
