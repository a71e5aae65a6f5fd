package postgres

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/need"
)

func (s *source) backup() database.Source {
	return database.Source{Kind: database.SourceBaseBackup, ConnInfo: s.connInfo(), Password: "hunter2"}
}

// bench is a server with pgbench's database "shop".
func bench(t testing.TB) *source {
	t.Helper()
	s := newSource(t)
	s.start()
	s.sql("postgres", "CREATE DATABASE shop")
	s.tool("pgbench", "-i", "-q", "-s", "10", "-h", "127.0.0.1", "-p", fmt.Sprint(s.port), "-U", "boss", "shop")
	return s
}

// withTablespace adds a tablespace with a table "far" of 20,000 rows.
func (s *source) withTablespace() *source {
	s.t.Helper()
	space := filepath.Join(filepath.Dir(s.dir), "space=1")
	if err := os.Mkdir(space, 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.own(space)
	s.sql("shop", "CREATE TABLESPACE fast LOCATION '"+space+"'",
		"CREATE TABLE far TABLESPACE fast AS SELECT n, repeat('y', 200) AS t FROM generate_series(1, 20000) AS n")
	return s
}

// cutAfter is a way to the server that breaks after so many bytes of an answer.
func (s *source) cutAfter(bytes int64) (port int) {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return // closed
			}
			go func() {
				defer from.Close()
				to, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
				if err != nil {
					return
				}
				defer to.Close()
				go func() { _, _ = io.Copy(to, from) }()
				_, _ = io.CopyN(from, to, bytes) // or whichever side ends first
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// load writes to the server until the test, or stop, ends.
func (s *source) load() (stop func()) {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.bin, "pgbench"), "-T", "600", "-c", "2", "-h", "127.0.0.1", "-p", fmt.Sprint(s.port), "-U", "boss", "shop")
	cmd.Env = []string{"PGPASSWORD=hunter2"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.user}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	var stopped atomic.Bool
	stop = func() {
		if stopped.CompareAndSwap(false, true) {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // killed
		}
	}
	s.t.Cleanup(stop)
	return stop
}

// consistent is a query that is true of pgbench's database at each moment.
const consistent = `SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(bbalance) FROM pgbench_branches)
	AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
	AND (SELECT count(*) FROM pgbench_accounts) = 1000000`

func TestBaseBackup(t *testing.T) {
	s := bench(t).withTablespace()
	s.load()
	eachRuntime(t, func(t *testing.T, w *world) {
		facts, size, err := w.engine.Probe(t.Context(), s.backup())
		if err != nil {
			t.Fatal(err)
		}
		if facts.Major != major(t) || facts.SystemID == "" || size < 100<<20 {
			t.Errorf("%+v, %d bytes", facts, size)
		}
		v, facts, prepared := w.golden(s.backup(), nil)
		if facts.Owner != w.rt.DefaultUser() {
			t.Errorf("owned by %v", facts.Owner)
		}
		links, err := filepath.Glob(filepath.Join(v.Path, "data/pg_tblspc/*"))
		if err != nil || len(links) != 1 {
			t.Fatal(links, err)
		}
		if target, err := os.Readlink(links[0]); err != nil || target != "../../tblspc/"+filepath.Base(links[0]) {
			t.Errorf("tablespace at %q, %v", target, err)
		}
		one, two := w.clone(v, facts, prepared, nil), w.clone(v, facts, prepared, nil)
		if rows := one.sql(consistent); rows[0][0] != "t" {
			t.Error("the copy is not consistent")
		}
		one.sql("DELETE FROM far")
		if rows := two.sql("SELECT count(*) FROM far"); rows[0][0] != "20000" {
			t.Errorf("one clone sees what another did: %v", rows)
		}
		one.checkLog()
	})
}

func TestBaseBackupProgress(t *testing.T) {
	var got []database.Progress
	b := &backupProgress{report: func(p database.Progress) { got = append(got, p) }}
	for _, line := range []string{
		"pg_basebackup: initiating base backup, waiting for checkpoint to complete",
		"waiting for checkpoint",
		"    0/23176 kB (0%), 0/1 tablespace",
		"12345/67890 kB (18%), 0/2 tablespaces (...se/with a name)",
		"99999999999999999999/1 kB (1%)",
	} {
		b.line(line)
	}
	if len(got) != 2 || got[1].Done != 12345<<10 || got[1].Total != 67890<<10 {
		t.Errorf("%+v", got)
	}
}

// TestBaseBackupFails: whatever goes wrong with the source, or here, is told as
// what it is, and never with the password.
func TestBaseBackupFails(t *testing.T) {
	s := bench(t)
	s.sql("postgres", "CREATE ROLE plain LOGIN PASSWORD 'hunter2'")
	change := func(f func(*database.Source)) database.Source {
		src := s.backup()
		f(&src)
		return src
	}
	for name, c := range map[string]struct {
		source database.Source
		kind   errs.Kind
		words  []string
	}{
		"nobody answers": {change(func(s *database.Source) { s.ConnInfo = "host=127.0.0.1 port=1 user=boss" }), errs.Unavailable, []string{fieldConnInfo, "refused"}},
		"wrong password": {change(func(s *database.Source) { s.Password = "wrong" }), errs.Denied, []string{fieldConnInfo, "password"}},
		"no replication": {change(func(s *database.Source) { s.ConnInfo = strings.Replace(s.ConnInfo, "boss", "plain", 1) }), errs.Denied, []string{"REPLICATION"}},
		"no database":    {change(func(s *database.Source) { s.ConnInfo = strings.Replace(s.ConnInfo, "postgres", "nodb", 1) }), errs.Invalid, []string{"nodb"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := New().Probe(t.Context(), c.source)
			want(t, err, c.kind, c.words...)
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a password in %v", err)
			}
		})
	}
	t.Run("full", func(t *testing.T) {
		need.Root(t)
		w := processWorld(t)
		v := w.newVolume()
		run(t, "mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", v.Path)
		t.Cleanup(func() {
			if err := unix.Unmount(v.Path, 0); err != nil {
				t.Error(err)
			}
		})
		err := w.engine.Fill(t.Context(), w.rt, database.FillRequest{Volume: v, Source: s.backup(), Progress: w.log})
		want(t, err, errs.Exhausted, "no space")
	})
	t.Run("cancelled", func(t *testing.T) {
		w := processWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		err := w.engine.Fill(ctx, w.rt, database.FillRequest{Volume: w.newVolume(), Source: s.backup(), Progress: func(database.Progress) { cancel() }})
		want(t, err, errs.Unavailable, "cancel")
	})
	eachRuntime(t, func(t *testing.T, w *world) {
		src := change(func(src *database.Source) {
			src.ConnInfo = strings.Replace(src.ConnInfo, fmt.Sprint(s.port), fmt.Sprint(s.cutAfter(20<<20)), 1)
		})
		err := w.engine.Fill(t.Context(), w.rt, database.FillRequest{Volume: w.newVolume(), Source: src, Progress: w.log})
		want(t, err, errs.Unavailable, "went away", fieldConnInfo)
	})
}
