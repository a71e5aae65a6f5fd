package postgres

import (
	"encoding/binary"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// makeControl makes the content of a control file as a server of the version
// writes it.
func makeControl(version uint32, crc int) []byte {
	b := make([]byte, controlSize)
	order := binary.LittleEndian
	order.PutUint64(b[offSystemID:], 7000000000000000001)
	order.PutUint32(b[offVersion:], version)
	order.PutUint32(b[offState:], uint32(shutDown))
	order.PutUint32(b[offMaxPrepared:], 20)
	order.PutUint32(b[offMaxLocks:], 128)
	b[offTrackCommitTimestamp] = 1
	order.PutUint32(b[offWALSegment:], 64<<20)
	order.PutUint32(b[crc:], crc32.Checksum(b[:crc], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func TestControl(t *testing.T) {
	for _, c := range []struct {
		major   int
		version uint32
		crc     int
	}{{12, 1201, 288}, {13, 1300, 288}, {17, 1300, 288}, {18, 1800, 292}} {
		got, err := parseControl(makeControl(c.version, c.crc), c.major)
		if err != nil {
			t.Errorf("%d: %v", c.major, err)
		}
		wantSettings := settings{"max_prepared_transactions": "20", "max_locks_per_transaction": "128",
			"track_commit_timestamp": "on", "min_wal_size": "128MB", "max_wal_size": "1024MB"}
		if got.SystemID != 7000000000000000001 || got.State != shutDown || !maps.Equal(got.parameters(), wantSettings) {
			t.Errorf("%d: %+v %v", c.major, got, got.parameters())
		}
		if _, err := parseControl(makeControl(c.version, c.crc), 11); err == nil {
			t.Errorf("format %d passes for another version's", c.version)
		}
	}
}

// TestControlOfServer reads what a real server wrote, and compares it with what
// pg_controldata says.
func TestControlOfServer(t *testing.T) {
	s := newSource(t)
	s.start("-c", "max_prepared_transactions=7", "-c", "max_locks_per_transaction=77", "-c", "track_commit_timestamp=on")
	s.stop()
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	got, err := readControl(root, major(t))
	if err != nil {
		t.Fatal(err)
	}
	if got.State != shutDown || got.MaxPreparedTransactions != 7 || got.MaxLocks != 77 || !got.TrackCommitTimestamp || got.WALSegment != 16<<20 {
		t.Errorf("%+v", got)
	}
	names, err := bootstrapNames(root)
	if err != nil || !slices.Equal(names, []string{"boss"}) {
		t.Errorf("%q, %v", names, err)
	}
	facts, err := New().Inspect(t.Context(), filepath.Dir(s.dir), "data")
	if err != nil || !strings.Contains(s.tool("pg_controldata", s.dir), facts.SystemID) {
		t.Errorf("%+v, %v", facts, err)
	}
}

func FuzzControl(f *testing.F) {
	f.Add(makeControl(1300, 288), 15)
	f.Add(makeControl(1800, 292)[:300], 18)
	f.Add([]byte{}, 12)
	f.Fuzz(func(t *testing.T, content []byte, major int) {
		c, err := parseControl(content, major)
		if err == nil && (major < oldest || major > newest || len(content) < 292) {
			t.Errorf("%+v", c)
		}
	})
}

func FuzzRoles(f *testing.F) {
	f.Add(make([]byte, 8192), []byte{0x17, 0x27, 0x59, 0, 1, 0, 0, 0, 0xec, 4, 0, 0, 0xec, 4, 0, 0})
	f.Fuzz(func(t *testing.T, table, relmap []byte) {
		for _, name := range roleNames(table, bootstrapOID) {
			if len(name) > nameLength {
				t.Errorf("%q", name)
			}
		}
		if node, err := mappedFile(relmap, authidOID); err == nil && len(relmap) < 16 {
			t.Error(node)
		}
	})
}

func TestParseConf(t *testing.T) {
	entries, bad := parseConf(`
# a comment
shared_buffers = 128MB	# another
Work_Mem 4MB
listen_addresses='*'
empty = ''
quoted = 'it''s \'so\' \\ \t\101\n' # '
pg_stat_statements.max=500
no value
= 3
alone
crlf = on` + "\r\n" + `unterminated = 'x
`)
	got := map[string]string{}
	for _, e := range entries {
		got[e.Name] = e.Value
	}
	wantEntries := map[string]string{"shared_buffers": "128MB", "work_mem": "4MB", "listen_addresses": "*", "empty": "",
		"quoted": "it's 'so' \\ \tA\n", "pg_stat_statements.max": "500", "no": "value", "crlf": "on"}
	if !maps.Equal(got, wantEntries) || !slices.Equal(bad, []int{10, 11, 13}) {
		t.Errorf("%q, bad lines %v", got, bad)
	}
}

// FuzzConf: what is read can be written and is then read as the same.
func FuzzConf(f *testing.F) {
	f.Add("a = 'x''y'\nb 1 # c\ninclude '/etc/passwd'")
	f.Add("a = '\\777\\0'\n\xff = 1")
	f.Fuzz(func(t *testing.T, text string) {
		entries, _ := parseConf(text)
		s := settings{}
		for _, e := range entries {
			if settingName.MatchString(e.Name) {
				s[e.Name] = e.Value
			}
		}
		again, bad := parseConf(s.render("# comment\n"))
		got := settings{}
		for _, e := range again {
			got[e.Name] = e.Value
		}
		if !maps.Equal(got, s) || len(bad) > 0 {
			t.Errorf("%q became %q, bad lines %v", s, got, bad)
		}
	})
}

func TestLoadSettings(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		confFile:        "a = 1\ninclude 'more.conf'\ninclude_if_exists 'none.conf'\ninclude_dir 'conf.d'\ninclude '/etc/passwd'\ninclude '../out.conf'\ninclude 'pipe'\nz = 1",
		"more.conf":     "b = 1\ninclude 'postgresql.conf'",
		"conf.d/2.conf": "c = 2", "conf.d/1.conf": "c = 1", "conf.d/no": "c = 3", "conf.d/.h.conf": "c = 4",
		autoFile: "z = 2\nnonsense",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "mkfifo", filepath.Join(dir, "pipe"))
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	found, warnings := loadSettings(root)
	if !maps.Equal(found, settings{"a": "1", "b": "1", "c": "2", "z": "2"}) {
		t.Errorf("%v", found)
	}
	all := strings.Join(warnings, "\n")
	for _, word := range []string{"/etc/passwd", "../out.conf", "pipe", "line 2", "includes itself"} {
		if !strings.Contains(all, word) {
			t.Errorf("no %q in %s", word, all)
		}
	}
}

func TestCheckSettings(t *testing.T) {
	e := New()
	if err := e.CheckSettings(map[string]string{"work_mem": "64MB", "pg_stat_statements.max": "100", preload: "pg_stat_statements, auto_explain", "fsync": "on"}); err != nil {
		t.Error(err)
	}
	for name, value := range map[string]string{
		"": "1", "Work_Mem": "1", "a b": "1", "work-mem": "1", "a.b.c": "1", "x\n": "1", "--help": "1", "work_mem": "1\x00",
		"port": "1", "hba_file": "/x", "archive_command": "x", "archive_mode": "on", "listen_addresses": "*", "primary_conninfo": "x",
		"unix_socket_directories": "/tmp", "cloned.instance_id": "x", preload: "pg_stat_statements, pg_cron", "data_directory": "/",
		"dynamic_library_path": "/tmp", "jit_provider": "/tmp/x", "external_pid_file": "/tmp/x", "restore_command": "x", "ssl": "on",
	} {
		err := e.CheckSettings(map[string]string{name: value})
		if !errs.Is(err, errs.Invalid) || errs.As(err).Field != "settings."+name {
			t.Errorf("%s = %q: %v", name, value, err)
		}
	}
}

func TestCheckSource(t *testing.T) {
	e := New()
	for _, ok := range []database.Source{
		{Kind: database.SourceDirectory, Directory: "/var/lib/postgresql/15/main"},
		{Kind: database.SourceInPlace},
		{Kind: database.SourceBaseBackup, ConnInfo: "host=db port=5433 user=rep sslmode=require"},
		{Kind: database.SourceBaseBackup, ConnInfo: "user = rep host = /run/postgresql"},
		{Kind: database.SourceBaseBackup, ConnInfo: "postgresql://rep@db:5432/app?sslmode=disable"},
		{Kind: database.SourceBaseBackup, ConnInfo: "postgres://db/app?user=rep"},
	} {
		if err := e.CheckSource(ok); err != nil {
			t.Errorf("%+v: %v", ok, err)
		}
	}
	for _, c := range []struct {
		src   database.Source
		field string
	}{
		{database.Source{Kind: "x"}, "source.kind"},
		{database.Source{Kind: database.SourceDirectory}, fieldDirectory},
		{database.Source{Kind: database.SourceDirectory, Directory: "data"}, fieldDirectory},
		{database.Source{Kind: database.SourceBaseBackup}, fieldConnInfo},
		{database.Source{Kind: database.SourceBaseBackup, ConnInfo: "host=db"}, fieldConnInfo},
		{database.Source{Kind: database.SourceBaseBackup, ConnInfo: "user=rep"}, fieldConnInfo},
		{database.Source{Kind: database.SourceBaseBackup, ConnInfo: "postgresql://:5432/db?user=x"}, fieldConnInfo},
		{database.Source{Kind: database.SourceBaseBackup, ConnInfo: "host=db user=rep password=hunter2"}, fieldConnInfo},
		{database.Source{Kind: database.SourceBaseBackup, ConnInfo: "postgresql://rep:hunter2@db/app"}, fieldConnInfo},
		{database.Source{Kind: database.SourceBaseBackup, ConnInfo: "host=db user=rep passfile=/etc/shadow"}, fieldConnInfo},
		{database.Source{Kind: database.SourceBaseBackup, ConnInfo: "host=db user=rep sslrootcert=/x"}, fieldConnInfo},
		{database.Source{Kind: database.SourceBaseBackup, ConnInfo: "service=x user=rep host=db"}, fieldConnInfo},
		{database.Source{Kind: database.SourceBaseBackup, ConnInfo: "host=db user=rep 'hunter2"}, fieldConnInfo},
		{database.Source{Kind: database.SourceBaseBackup, ConnInfo: "host=db user=rep\x00"}, fieldConnInfo},
	} {
		err := e.CheckSource(c.src)
		if !errs.Is(err, errs.Invalid) || errs.As(err).Field != c.field {
			t.Errorf("%+v: %v", c.src, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a password in %v", err)
		}
	}
}

// TestScramVerifier against one that PostgreSQL made of the password "secret".
func TestScramVerifier(t *testing.T) {
	s := newSource(t)
	s.start()
	verifier, err := scramVerifier(`it's "$:\ secret`)
	if err != nil {
		t.Fatal(err)
	}
	s.sql("postgres", "CREATE ROLE r LOGIN PASSWORD '"+verifier+"'")
	target := database.Target{Addr: "127.0.0.1", Port: s.port, Role: "r", Password: `it's "$:\ secret`}
	if rows := askURL(t, New().ConnectionURL(target), "SELECT current_user"); rows[0][0] != "r" {
		t.Error(rows)
	}
	if _, err := scramVerifier("ü"); err == nil {
		t.Error("what SASLprep could change is not refused")
	}
}

func TestConnectionURL(t *testing.T) {
	for want, target := range map[string]database.Target{
		"postgresql://cloned:pw@127.0.0.1:5432/postgres": {Addr: "127.0.0.1", Port: 5432, Role: "cloned", Password: "pw"},
		"postgresql://cloned@[::1]:1/a%20b%2Fc%3F":       {Addr: "::1", Port: 1, Role: "cloned", Database: "a b/c?"},
		"postgresql://cloned:p%40%2F%3A@h:1/d":           {Addr: "h", Port: 1, Role: "cloned", Password: "p@/:", Database: "d"},
	} {
		if got := New().ConnectionURL(target); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestMainDatabase(t *testing.T) {
	for want, databases := range map[string][]db{
		"postgres":  {},
		"template1": {{name: "template1", template: true}},
		"shop":      {{name: "postgres", size: 9}, {name: "shop", size: 1}, {name: "template1", template: true, size: 99}},
		"big":       {{name: "small", size: 1}, {name: "big", size: 2}, {name: "postgres", size: 99}},
	} {
		if got := mainDatabase(databases); got != want {
			t.Errorf("%s of %+v, want %s", got, databases, want)
		}
	}
}

func TestVersionedSettings(t *testing.T) {
	for name, span := range map[string][2]int{"archive_library": {15, 18}, "promote_trigger_file": {12, 15}, "wal_keep_segments": {12, 12}, "wal_keep_size": {13, 18}, "port": {12, 18}} {
		for major := oldest; major <= newest; major++ {
			_, has := merge(of(harmless, major), of(modest, major))[name]
			if has != (major >= span[0] && major <= span[1]) {
				t.Errorf("%s in %d: %v", name, major, has)
			}
		}
	}
}
