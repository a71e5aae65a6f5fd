package postgres

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
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/container/docker"
	"github.com/cloned-db/cloned/container/process"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/need"
	"github.com/cloned-db/cloned/internal/secret"
)

// major is the version that the tests run.
func major(t testing.TB) int {
	t.Helper()
	n, err := strconv.Atoi(filepath.Base(filepath.Dir(need.Postgres(t))))
	if err != nil {
		t.Skipf("the server's version can't be told from its folder: %v", err)
	}
	return n
}

// world is a runtime and a place for volumes.
type world struct {
	t      testing.TB
	engine *Engine
	rt     container.Runtime
	image  string
	dir    string
	volume int
}

// eachRuntime runs the test with plain processes and with Docker.
func eachRuntime(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("process", func(t *testing.T) { test(t, processWorld(t)) })
	t.Run("docker", func(t *testing.T) { test(t, dockerWorld(t)) })
}

func processWorld(t testing.TB) *world {
	bin := need.Postgres(t)
	rt, err := process.Open(process.Config{Dir: t.TempDir(), Instance: "pgtest"})
	if err != nil {
		t.Fatal(err)
	}
	return newWorld(t, rt, bin)
}

func dockerWorld(t testing.TB) *world {
	need.Root(t)
	need.Docker(t)
	rt, err := docker.Open(t.Context(), docker.Config{Instance: "pgtest" + strconv.Itoa(os.Getpid()%10000)})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, rt, "")
	w.image = w.engine.DefaultImage("docker", major(t))
	if _, err := rt.EnsureImage(t.Context(), w.image); err != nil {
		t.Skipf("needs the image: %v", err)
	}
	if err := rt.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

func newWorld(t testing.TB, rt container.Runtime, image string) *world {
	w := &world{t: t, engine: New(), rt: rt, image: image, dir: tempDir(t)}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		list, err := rt.List(ctx)
		if err != nil {
			t.Error(err)
		}
		for _, in := range list {
			if in.Task {
				t.Errorf("task %s is still there", in.ID)
			}
			if err := rt.Remove(ctx, in.ID); err != nil {
				t.Error(err)
			}
		}
		if err := rt.Teardown(ctx); err != nil {
			t.Error(err)
		}
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// tempDir is a directory with a short path that everybody may pass through.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// newVolume makes an empty volume, as a storage driver does.
func (w *world) newVolume() database.Volume {
	w.t.Helper()
	w.volume++
	name := "g-" + strconv.Itoa(w.volume)
	path := filepath.Join(w.dir, name)
	if err := os.Mkdir(path, 0o755); err != nil {
		w.t.Fatal(err)
	}
	return database.Volume{TaskID: name, Path: path, DataDir: "data", Image: w.image}
}

// golden fills and prepares a volume from a source.
func (w *world) golden(src database.Source, change func(*database.PrepareRequest)) (database.Volume, database.Facts, database.Prepared) {
	w.t.Helper()
	v := w.newVolume()
	if err := w.engine.Fill(w.t.Context(), w.rt, database.FillRequest{Volume: v, Source: src, Progress: w.log}); err != nil {
		w.fail("fill", err)
	}
	facts, prepared := w.prepare(v, change)
	return v, facts, prepared
}

func (w *world) prepare(v database.Volume, change func(*database.PrepareRequest)) (database.Facts, database.Prepared) {
	w.t.Helper()
	facts, err := w.engine.Inspect(w.t.Context(), v.Path, v.DataDir)
	if err != nil {
		w.fail("inspect", err)
	}
	req := database.PrepareRequest{Volume: v, Facts: facts, Progress: w.log}
	if change != nil {
		change(&req)
	}
	begin := time.Now()
	prepared, err := w.engine.Prepare(w.t.Context(), w.rt, req)
	if err != nil {
		w.fail("prepare", err)
	}
	w.t.Logf("prepared in %v: %+v", time.Since(begin).Round(time.Millisecond), prepared)
	return facts, prepared
}

func (w *world) log(p database.Progress) {
	w.t.Logf("%s: %s %d/%d", p.Phase, p.Message, p.Done, p.Total)
}

func (w *world) fail(what string, err error) {
	w.t.Helper()
	w.t.Fatalf("%s: %v\n%s", what, err, strings.Join(errs.As(err).Log, "\n"))
}

// clone is a clone that runs.
type clone struct {
	w      *world
	target database.Target
	volume string
}

// clone makes a clone of a prepared volume and waits until it is claimed.
func (w *world) clone(v database.Volume, facts database.Facts, prepared database.Prepared, change func(*database.StartRequest)) *clone {
	w.t.Helper()
	w.volume++
	id := "c-" + strconv.Itoa(w.volume)
	of := v
	v.Path = filepath.Join(w.dir, id)
	run(w.t, "cp", "-a", "--reflink=auto", of.Path, v.Path)
	req := database.StartRequest{
		ID: id, Volume: v, Runtime: w.rt, Facts: facts, Prepared: prepared,
		PublishAddr: "127.0.0.1", PublishPort: freePort(w.t),
	}
	if change != nil {
		change(&req)
	}
	c := &clone{w: w, volume: v.Path, target: database.Target{
		ID: id, VolumePath: v.Path, DataDir: v.DataDir, Addr: req.PublishAddr, Port: req.PublishPort,
		Database: prepared.Database, Role: w.engine.Role(), Password: secret.Text("s3cret-" + id),
	}}
	begin := time.Now()
	if err := w.rt.Start(w.t.Context(), w.engine.Spec(req)); err != nil {
		w.fail("start", err)
	}
	started := time.Now()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if err := w.rt.WaitReady(ctx, id, func(ctx context.Context) error { return w.engine.Ready(ctx, c.target) }); err != nil {
		w.fail("ready", err)
	}
	ready := time.Now()
	if err := w.engine.Claim(ctx, c.target); err != nil {
		w.fail("claim", err)
	}
	w.t.Logf("start %v, ready %v, claim %v", started.Sub(begin), ready.Sub(started), time.Since(ready))
	return c
}

// sql runs a query as the clone's user and returns its rows.
func (c *clone) sql(sql string) [][]string {
	c.w.t.Helper()
	return askURL(c.w.t, c.w.engine.ConnectionURL(c.target), sql)
}

// logs is the clone's log.
func (c *clone) logs() string {
	c.w.t.Helper()
	var b strings.Builder
	if err := c.w.rt.Logs(c.w.t.Context(), c.target.ID, -1, false, &b); err != nil {
		c.w.t.Fatal(err)
	}
	return b.String()
}

// checkLog fails if the log says that the clone had anything to mend.
func (c *clone) checkLog() {
	c.w.t.Helper()
	// What an early question for readiness is told.
	log := strings.ReplaceAll(c.logs(), "FATAL:  the database system is starting up", "")
	for _, bad := range []string{"not properly shut down", "redo starts", "FATAL", "ERROR", "WARNING", "PANIC"} {
		if strings.Contains(log, bad) {
			c.w.t.Errorf("the clone's log has %q:\n%s", bad, log)
		}
	}
}

// server is a source: a real server that we do not run through the runtime.
type source struct {
	t    testing.TB
	dir  string
	bin  string
	port int
	cmd  *exec.Cmd
	user *syscall.Credential
}

// newSource makes a cluster with a superuser "boss" whose password is "hunter2".
func newSource(t testing.TB) *source {
	t.Helper()
	s := &source{t: t, bin: need.Postgres(t), dir: filepath.Join(tempDir(t), "data"), port: freePort(t)}
	parent := filepath.Dir(s.dir)
	if os.Geteuid() == 0 {
		s.user = credential(t, "postgres")
	}
	s.own(parent)
	password := filepath.Join(parent, "password")
	if err := os.WriteFile(password, []byte("hunter2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.tool("initdb", "-D", s.dir, "-U", "boss", "--pwfile", password, "-A", "scram-sha-256", "--no-sync", "-E", "UTF8", "--locale", "C.UTF-8")
	return s
}

// own makes a file the source's.
func (s *source) own(path string) {
	s.t.Helper()
	if s.user == nil {
		return
	}
	if err := os.Chown(path, int(s.user.Uid), int(s.user.Gid)); err != nil {
		s.t.Fatal(err)
	}
}

func credential(t testing.TB, name string) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Skipf("needs the user %s: %v", name, err)
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	if uidErr != nil || gidErr != nil {
		t.Fatal(uidErr, gidErr)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// tool runs one of PostgreSQL's programs as the owner of the data.
func (s *source) tool(name string, args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(s.bin, name), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.user}
	cmd.Env = []string{"PGPASSWORD=hunter2", "LC_ALL=C", "PATH=/usr/bin:/bin"}
	cmd.Dir = filepath.Dir(s.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// start starts the server and waits until it answers.
func (s *source) start(options ...string) {
	s.t.Helper()
	log, err := os.Create(s.dir + ".log")
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	args := append([]string{"-D", s.dir, "-c", "port=" + strconv.Itoa(s.port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=" + filepath.Dir(s.dir), "-c", "fsync=off"}, options...)
	s.cmd = exec.Command(filepath.Join(s.bin, "postgres"), args...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.user}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.stop)
	deadline := time.Now().Add(30 * time.Second)
	for {
		conn, err := pgconn.Connect(s.t.Context(), s.url("postgres"))
		if err == nil {
			closeConn(s.t.Context(), conn)
			return
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(s.dir + ".log")
			s.t.Fatalf("source does not start: %v\n%s", err, text)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// stop shuts the server down, if it runs.
func (s *source) stop() { s.end(syscall.SIGINT) }

// end ends the server with a signal and waits for it.
func (s *source) end(sig syscall.Signal) {
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Error(err)
	}
	_ = s.cmd.Wait() // its exit code depends on the signal
	s.cmd = nil
}

func (s *source) url(db string) string {
	return fmt.Sprintf("postgresql://boss:hunter2@127.0.0.1:%d/%s", s.port, db)
}

func (s *source) connInfo() string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=boss dbname=postgres", s.port)
}

func (s *source) sql(db string, statements ...string) [][]string {
	s.t.Helper()
	var rows [][]string
	for _, sql := range statements {
		rows = askURL(s.t, s.url(db), sql)
	}
	return rows
}

// append adds lines to a file of the data directory.
func (s *source) append(file, lines string) {
	s.t.Helper()
	f, err := os.OpenFile(filepath.Join(s.dir, file), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(lines); err != nil {
		s.t.Fatal(err)
	}
	s.own(f.Name())
}

func askURL(t testing.TB, url, sql string) [][]string {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(t.Context(), conn)
	results, err := conn.Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var rows [][]string
	for _, result := range results {
		for _, values := range result.Rows {
			row := make([]string, len(values))
			for i, v := range values {
				row[i] = string(v)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func run(t testing.TB, argv ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
}

// want fails unless the error is of the kind, and its text has all the words.
func want(t testing.TB, err error, kind errs.Kind, words ...string) {
	t.Helper()
	if !errs.Is(err, kind) {
		t.Errorf("got %v, want an error of kind %v", err, kind)
		return
	}
	e := errs.As(err)
	for _, word := range words {
		if !slices.ContainsFunc([]string{e.Error(), e.Hint, e.Reason, e.Field}, func(s string) bool { return strings.Contains(s, word) }) {
			t.Errorf("%q (%s, field %s) does not say %q", e.Error(), e.Reason, e.Field, word)
		}
	}
	if e.Phase == "" {
		t.Errorf("%v has no phase", err)
	}
}
