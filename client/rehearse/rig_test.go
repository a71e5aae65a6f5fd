package rehearse

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/internal/need"
)

// rig is a PostgreSQL server of the tests' own.
type rig struct {
	dir string
	// super is how a superuser gets in.
	super *pgx.ConnConfig
	cmd   *exec.Cmd
}

var (
	// shared are servers by the libraries they preload: one does for many tests,
	// each of which has a database.
	shared = map[string]*rig{}
	// started are all servers.
	started []*rig
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, r := range started {
		r.stop()
	}
	os.Exit(code)
}

// serve returns a server that runs.
func serve(t *testing.T, preload string) *rig {
	t.Helper()
	need.Postgres(t)
	if shared[preload] == nil {
		shared[preload] = start(t, preload)
	}
	return shared[preload]
}

// start starts a server, which is stopped after the last test.
func start(t *testing.T, preload string) *rig {
	t.Helper()
	bin := need.Postgres(t)
	dir, err := os.MkdirTemp("", "rehearse")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{dir: dir}
	started = append(started, r)
	port := freePort(t)
	r.super, err = pgx.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d user=boss sslmode=disable application_name=test", port))
	if err != nil {
		t.Fatal(err)
	}
	as := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		// PostgreSQL refuses to run as root.
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Skipf("needs the user postgres: %v", err)
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if uidErr != nil || gidErr != nil {
			t.Fatal(uidErr, gidErr)
		}
		as.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	initdb := exec.CommandContext(t.Context(), filepath.Join(bin, "initdb"), "-D", data, "-U", "boss", "-A", "trust", "-N", "-E", "UTF8", "--locale", "C.UTF-8")
	initdb.SysProcAttr, initdb.Dir = as, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	log, err := os.Create(r.logFile())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	args := []string{"-D", data, "-p", strconv.Itoa(port)}
	for _, set := range []string{
		"listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "shared_buffers=32MB",
		"dynamic_shared_memory_type=mmap", "autovacuum_naptime=1", "max_prepared_transactions=2",
		"log_statement=all", "shared_preload_libraries=" + preload,
	} {
		args = append(args, "-c", set)
	}
	r.cmd = exec.Command(filepath.Join(bin, "postgres"), args...)
	r.cmd.SysProcAttr, r.cmd.Dir = as, dir
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server answers", func() error {
		conn, err := pgx.ConnectConfig(t.Context(), r.config("postgres"))
		if err != nil {
			return fmt.Errorf("%w\n%s", err, strings.Join(r.log(t, 0), "\n"))
		}
		return conn.Close(t.Context())
	})
	return r
}

// stop ends the server, if it ran, and removes its files.
func (r *rig) stop() {
	if r.cmd != nil && r.cmd.Process != nil {
		_ = r.cmd.Process.Signal(syscall.SIGINT) // if it is gone, so much the better
		_ = r.cmd.Wait()                         // its exit code depends on the signal
		r.cmd = nil
	}
	if err := os.RemoveAll(r.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func (r *rig) logFile() string { return filepath.Join(r.dir, "log") }

// log returns the log's lines from an offset in bytes.
func (r *rig) log(t *testing.T, from int) []string {
	t.Helper()
	data, err := os.ReadFile(r.logFile())
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(data[from:]), "\n")
}

// config is how a superuser gets into a database.
func (r *rig) config(database string) *pgx.ConnConfig {
	cfg := r.super.Copy()
	cfg.Database = database
	return cfg
}

var databases atomic.Int32

// newDatabase makes a database with the statements in it.
func (r *rig) newDatabase(t *testing.T, statements ...string) string {
	t.Helper()
	name := fmt.Sprintf("db%d", databases.Add(1))
	r.exec(t, "postgres", "CREATE DATABASE "+name)
	r.exec(t, name, statements...)
	return name
}

func (r *rig) exec(t *testing.T, database string, statements ...string) {
	t.Helper()
	if err := r.try(t.Context(), database, statements...); err != nil {
		t.Fatal(err)
	}
}

// try runs statements in one session.
func (r *rig) try(ctx context.Context, database string, statements ...string) error {
	conn, err := pgx.ConnectConfig(ctx, r.config(database))
	if err != nil {
		return err
	}
	defer hangUp(conn)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// rehearse runs statements in one session while it watches, and checks that
// the watcher leaves nothing behind.
func (r *rig) rehearse(t *testing.T, database string, statements ...string) Report {
	t.Helper()
	return r.run(t, database, func(ctx context.Context) error { return r.try(ctx, database, statements...) })
}

func (r *rig) run(t *testing.T, database string, command func(context.Context) error, opts ...Option) Report {
	t.Helper()
	report, err := Run(t.Context(), r.config(database), time.Minute, command, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d samples, longest gap %v", report.Sampling.Samples, report.Sampling.MaxGap)
	r.nothingLeft(t)
	return report
}

// nothingLeft waits for the watcher's sessions to be gone: the server takes a
// moment to notice that they are.
func (r *rig) nothingLeft(t *testing.T) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), r.config("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp(conn)
	eventually(t, "the watcher's sessions are gone", func() error {
		var n int
		err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'rehearse%'`).Scan(&n)
		if err == nil && n > 0 {
			err = fmt.Errorf("%d are left", n)
		}
		return err
	})
	var extensions int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'`).Scan(&extensions); err != nil || extensions != 0 {
		t.Errorf("%d extensions are left: %v", extensions, err)
	}
}

// find returns the lock on a table in a mode; no lock fails the test.
func find(t *testing.T, r Report, table, mode string) Lock {
	t.Helper()
	i := slices.IndexFunc(r.Locks, func(l Lock) bool { return l.Table == table && l.Mode == mode })
	if i < 0 {
		t.Fatalf("no %s on %s in %+v", mode, table, r.Locks)
	}
	return r.Locks[i]
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// freePort returns a port below those that the kernel gives to clients, so that
// none takes it meanwhile.
func freePort(t *testing.T) int {
	t.Helper()
	for port := 20000 + os.Getpid()%10000; port < 32000; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}
