package harness

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a PostgreSQL server that plays production.
type Server struct {
	// Dir is its data directory; Port where it listens on 127.0.0.1.
	Dir  string
	Port int
	// Password is that of its superuser "postgres".
	Password string

	t    testing.TB
	bin  string
	cmd  *exec.Cmd
	load *exec.Cmd
	// loadLog is what the load has said.
	loadLog bytes.Buffer
}

// BinDir is the directory of the host's newest PostgreSQL programs.
func BinDir(t testing.TB) string {
	t.Helper()
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no PostgreSQL under /usr/lib/postgresql: %v", err)
	}
	sort.Slice(dirs, func(i, j int) bool { return len(dirs[i]) < len(dirs[j]) || dirs[i] < dirs[j] })
	return filepath.Dir(dirs[len(dirs)-1])
}

// asPostgres makes cmd run as the user postgres when we are root, which
// PostgreSQL refuses to run as.
func asPostgres(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	cmd.Dir = "/"
	if os.Getuid() != 0 {
		return
	}
	uid, gid := PostgresUser(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// PostgresUser is who servers run as.
func PostgresUser(t testing.TB) (uid, gid int) {
	t.Helper()
	if os.Getuid() != 0 {
		return os.Getuid(), os.Getgid()
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, err = strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatal(err)
	}
	gid, err = strconv.Atoi(u.Gid)
	if err != nil {
		t.Fatal(err)
	}
	return uid, gid
}

// InitServer makes the data directory dir (which may exist, empty) for a server
// that is not started yet.
func InitServer(t testing.TB, dir string) *Server {
	t.Helper()
	s := &Server{Dir: dir, Port: FreePort(t), Password: "s3cret'of production", t: t, bin: BinDir(t)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	uid, gid := PostgresUser(t)
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	pwfile := filepath.Join(dir, "..", filepath.Base(dir)+".pw")
	if err := os.WriteFile(pwfile, []byte(s.Password), 0o644); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(pwfile)
	s.tool("initdb", "-D", dir, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", pwfile, "-N", "--locale=C.UTF-8")
	return s
}

// NewServer starts a server that has nothing in it, and goes with the test.
func NewServer(t testing.TB, settings ...string) *Server {
	t.Helper()
	// Not t.TempDir, which only the user of the test can enter.
	dir, err := os.MkdirTemp("", "cloned-server-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := InitServer(t, filepath.Join(dir, "data"))
	s.Start(settings...)
	return s
}

// Start starts the server and returns when it answers. It stops with the test.
func (s *Server) Start(settings ...string) {
	s.t.Helper()
	args := []string{
		"-D", s.Dir, "-p", strconv.Itoa(s.Port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off",
		"-c", "wal_level=logical", "-c", "max_wal_senders=10", "-c", "max_prepared_transactions=5",
		"-c", "shared_buffers=64MB", "-c", "max_wal_size=2GB",
		"-c", "dynamic_shared_memory_type=mmap", // what is in /dev/shm is taken for a leftover
	}
	for _, set := range settings {
		args = append(args, "-c", set)
	}
	log, err := os.OpenFile(s.Dir+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command(filepath.Join(s.bin, "postgres"), args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	asPostgres(s.t, s.cmd)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.Stop)
	Eventually(s.t, 60*time.Second, "source server answers", func() error {
		conn, err := pgx.Connect(s.t.Context(), s.URL("postgres"))
		if err != nil {
			return err
		}
		return conn.Close(s.t.Context())
	})
}

// Copy copies the data, as a crash at this moment would leave them, for a server
// that is not started yet. Nobody may write meanwhile.
func (s *Server) Copy(dir string) *Server {
	s.t.Helper()
	for _, argv := range [][]string{{"cp", "-a", s.Dir, dir}, {"rm", dir + "/postmaster.pid"}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			s.t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	return &Server{Dir: dir, Port: FreePort(s.t), Password: s.Password, t: s.t, bin: s.bin}
}

// Stop ends the load and the server, and waits for both.
func (s *Server) Stop() {
	s.StopLoad()
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Signal(syscall.SIGINT)
	done := make(chan struct{})
	go func() { s.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		s.cmd.Process.Kill()
		<-done
	}
	s.cmd = nil
}

// URL is a connection URL for the superuser, with the password.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgresql://postgres:%s@127.0.0.1:%d/%s?sslmode=disable",
		strings.NewReplacer("'", "%27", " ", "%20").Replace(s.Password), s.Port, database)
}

// ConnInfo is what an operator gives to "golden create --from-server".
func (s *Server) ConnInfo() string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=postgres", s.Port)
}

// LoadShop makes the database "shop" with that many orders.
func (s *Server) LoadShop(orders int) {
	s.t.Helper()
	s.Exec("postgres", "CREATE DATABASE shop")
	cmd := exec.Command(filepath.Join(s.bin, "psql"), "-X", "-q", "-d", s.URL("shop"), "-v", fmt.Sprintf("orders=%d", orders), "-f", Repo(s.t, "scripts/shop/schema.sql"))
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("loading the shop: %v: %s", err, out)
	}
}

// Scale is how much of something a test has; CLONED_E2E_SCALE, in percent, makes it
// less on slow machines.
func Scale(n int) int {
	if percent, err := strconv.Atoi(os.Getenv("CLONED_E2E_SCALE")); err == nil {
		n = n * percent / 100
	}
	return n
}

// StartLoad keeps placing orders until StopLoad or the test's end.
func (s *Server) StartLoad() {
	s.t.Helper()
	s.load = exec.Command(filepath.Join(s.bin, "pgbench"), "-n", "-c", "2", "-R", strconv.Itoa(Scale(50)), "-T", "3600", "-f", Repo(s.t, "scripts/shop/load.pgbench"), s.URL("shop"))
	s.loadLog.Reset()
	s.load.Stdout, s.load.Stderr = &s.loadLog, &s.loadLog
	if err := s.load.Start(); err != nil {
		s.t.Fatal(err)
	}
	first := s.Int("shop", "SELECT count(*) FROM orders")
	Eventually(s.t, 30*time.Second, "orders are placed", func() error {
		if s.Int("shop", "SELECT count(*) FROM orders") == first {
			return fmt.Errorf("no new order yet: %s", s.loadLog.String())
		}
		return nil
	})
}

// StopLoad ends the load, if any runs, which must not have ended by itself: each
// of its clients ends with its first error.
func (s *Server) StopLoad() {
	s.t.Helper()
	if s.load == nil {
		return
	}
	killed := s.load.Process.Kill()
	if err := s.load.Wait(); killed != nil || s.load.ProcessState.Exited() || strings.Contains(s.loadLog.String(), "aborted") {
		s.t.Errorf("the load ended by itself: %v: %s", err, s.loadLog.String())
	}
	s.load = nil
}

// Exec runs SQL in a database.
func (s *Server) Exec(database, sql string) {
	s.t.Helper()
	ExecSQL(s.t, s.URL(database), sql)
}

// Int returns the one number that a query gives.
func (s *Server) Int(database, sql string) int64 {
	s.t.Helper()
	return QueryInt(s.t, s.URL(database), sql)
}

func (s *Server) tool(name string, args ...string) {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	asPostgres(s.t, cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// ExecSQL runs SQL at a URL and fails the test if it fails.
func ExecSQL(t testing.TB, url, sql string) {
	t.Helper()
	if err := TrySQL(t.Context(), url, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// TrySQL runs SQL at a URL.
func TrySQL(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

// QueryInt returns the one number that a query gives.
func QueryInt(t testing.TB, url, sql string) int64 {
	t.Helper()
	var n int64
	queryOne(t, url, sql, &n)
	return n
}

// QueryText returns the one text that a query gives.
func QueryText(t testing.TB, url, sql string) string {
	t.Helper()
	var s string
	queryOne(t, url, sql, &s)
	return s
}

func queryOne(t testing.TB, url, sql string, into any) {
	t.Helper()
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, sql).Scan(into); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// FreePort returns a TCP port on 127.0.0.1 that nothing listens on now.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Eventually calls check until it returns nil, and fails the test with its last
// error when the time is over.
func Eventually(t testing.TB, within time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s: %v", within, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Repo returns the path of a file of the repository: below CLONED_E2E_REPO, or
// found from the working directory.
func Repo(t testing.TB, path string) string {
	t.Helper()
	if root := os.Getenv("CLONED_E2E_REPO"); root != "" {
		return filepath.Join(root, path)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, path)
		}
	}
	t.Fatalf("not in the repository: %s", path)
	return ""
}
