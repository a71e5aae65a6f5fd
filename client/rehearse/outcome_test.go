package rehearse

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/errs"
)

func TestFailure(t *testing.T) {
	s := serve(t, "")
	db := s.newDatabase(t)
	from := len(strings.Join(s.log(t, 0), "\n"))
	log := func(context.Context) ([]string, error) { return s.log(t, from), nil }
	r := s.run(t, db, func(ctx context.Context) error {
		for range 2 {
			if err := s.try(ctx, db, "SELECT * FROM nope"); err == nil {
				return errors.New("a table that is not there can be read")
			}
		}
		return exec.CommandContext(ctx, "sh", "-c", "exit 3").Run()
	}, WithLog(log), WithCommand("sh", "-c", "exit 3"))
	if r.ExitCode != 3 || r.Error != "exit status 3" || !r.Failed() || r.TimedOut || len(r.Command) != 3 {
		t.Errorf("got exit code %d, %q", r.ExitCode, r.Error)
	}
	want := LogLine{"ERROR", `relation "nope" does not exist at character 15`, 2}
	if !slices.Equal(r.Log, []LogLine{want}) {
		t.Errorf("got %+v", r.Log)
	}
	// The server logs every statement, but not the watcher's.
	if text := strings.Join(s.log(t, from), "\n"); strings.Contains(text, "pg_locks") || !strings.Contains(text, "SELECT * FROM nope") {
		t.Errorf("the log has:\n%s", text)
	}
}

// TestTimeout leaves a session that holds a lock, as a command that is killed
// does: the report must not wait for it.
func TestTimeout(t *testing.T) {
	s := serve(t, "")
	db := s.newDatabase(t, "CREATE TABLE a (id int)")
	holder, err := pgx.ConnectConfig(t.Context(), s.config(db))
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp(holder)
	r, err := Run(t.Context(), s.config(db), 200*time.Millisecond, func(ctx context.Context) error {
		if _, err := holder.Exec(ctx, "BEGIN; ALTER TABLE a ADD x int"); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}, WithLog(func(context.Context) ([]string, error) { return nil, errors.New("no log") }))
	if err != nil {
		t.Fatal(err)
	}
	s.nothingLeft(t)
	if !r.TimedOut || r.ExitCode != -1 || !strings.Contains(r.Error, "not finished within 200ms") {
		t.Errorf("got exit code %d, %q", r.ExitCode, r.Error)
	}
	if l := find(t, r, "public.a", "AccessExclusive"); l.Held.Duration < 100*time.Millisecond || l.Held.Duration > time.Second {
		t.Errorf("held %v", l.Held)
	}
	notes := strings.Join(r.Notes, "\n")
	if !strings.Contains(notes, "sizes of its tables are unknown") || !strings.Contains(notes, "no log") {
		t.Errorf("got %q", r.Notes)
	}
	if len(r.Growth) != 0 {
		t.Errorf("got %+v", r.Growth)
	}
}

// TestInterrupted ends the context of Run: the report is made all the same.
func TestInterrupted(t *testing.T) {
	s := serve(t, "")
	db := s.newDatabase(t, "CREATE TABLE a (id int)")
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Run(ctx, s.config(db), time.Minute, func(ctx context.Context) error {
		if err := s.try(ctx, db, "BEGIN", "LOCK a", "SELECT pg_sleep(0.1)", "COMMIT"); err != nil {
			return err
		}
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	find(t, r, "public.a", "AccessExclusive")
	if r.TimedOut || r.ExitCode != -1 || r.Error != context.Canceled.Error() {
		t.Errorf("got exit code %d, %q", r.ExitCode, r.Error)
	}
	s.nothingLeft(t)
}

// TestTerminated has the command end the watcher's own session.
func TestTerminated(t *testing.T) {
	s := serve(t, "")
	db := s.newDatabase(t, "CREATE TABLE a (id int)")
	r := s.rehearse(t, db, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
		"SELECT pg_sleep(0.2)", "BEGIN", "LOCK a", "SELECT pg_sleep(0.2)", "COMMIT")
	find(t, r, "public.a", "AccessExclusive")
	if len(r.Notes) == 0 || r.Failed() {
		t.Errorf("got %q, error %q", r.Notes, r.Error)
	}
}

func TestStatements(t *testing.T) {
	s := serve(t, "pg_stat_statements")
	db := s.newDatabase(t, "CREATE TABLE a (id int)", "INSERT INTO a VALUES (1)")
	statements := []string{"CREATE TABLE b (id int)", "SELECT pg_sleep(0.1)"}
	for range 3 {
		statements = append(statements, "INSERT INTO a VALUES (1)", "INSERT INTO a VALUES (2)")
	}
	r := s.rehearse(t, db, statements...)
	if r.StatementsSampled || len(r.Notes) != 0 {
		t.Errorf("sampled: %v, notes %q", r.StatementsSampled, r.Notes)
	}
	find := func(text string) Statement {
		t.Helper()
		i := slices.IndexFunc(r.Statements, func(s Statement) bool { return s.Statement == text })
		if i < 0 {
			t.Fatalf("no %s in %+v", text, r.Statements)
		}
		return r.Statements[i]
	}
	if got := find("INSERT INTO a VALUES ($1)"); got.Calls != 6 || got.Rows != 6 || got.WALBytes < 100 || got.Database != db || got.Total.Duration <= 0 {
		t.Errorf("got %+v", got)
	}
	if got := r.Statements[0]; got.Statement != "SELECT pg_sleep($1)" || got.Total.Duration < 100*time.Millisecond {
		t.Errorf("the slowest is %+v", got)
	}
	for _, st := range r.Statements {
		if strings.Contains(st.Statement, "pg_locks") || strings.Contains(st.Statement, "EXTENSION") {
			t.Errorf("the watcher's own statement: %+v", st)
		}
	}
	if len(r.Created) != 1 {
		t.Errorf("got %+v", r.Created)
	}
}

func TestStop(t *testing.T) {
	s := serve(t, "")
	db := s.newDatabase(t, "CREATE TABLE a (id int)", "INSERT INTO a VALUES (1)", "CREATE MATERIALIZED VIEW m AS SELECT 1 AS one")
	w, err := Watch(t.Context(), s.config(db), WithInterval(5*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	s.exec(t, db, "TRUNCATE a", "REFRESH MATERIALIZED VIEW m")
	first, err := w.Stop(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Rewrites) != 2 {
		t.Errorf("got %+v", first.Rewrites)
	}
	again, err := w.Stop(t.Context())
	if err != nil || again.Took != first.Took {
		t.Errorf("another Stop: %v, %+v", err, again)
	}
	s.nothingLeft(t)
}

// TestPrepared has a prepared transaction keep a lock without a session.
func TestPrepared(t *testing.T) {
	s := serve(t, "")
	db := s.newDatabase(t, "CREATE TABLE a (id int)")
	r := s.rehearse(t, db, "BEGIN", "LOCK a", "PREPARE TRANSACTION 'p'", "SELECT pg_sleep(0.1)", "COMMIT PREPARED 'p'")
	i := slices.IndexFunc(r.Locks, func(l Lock) bool { return l.Statement == "(prepared transaction)" && l.Database == db })
	if i < 0 || r.Locks[i].Table != "public.a" || r.Locks[i].Held.Duration < 50*time.Millisecond {
		t.Errorf("got %+v", r.Locks)
	}
}

// TestServerGone ends with a report of what was found out until then.
func TestServerGone(t *testing.T) {
	s := start(t, "")
	db := s.newDatabase(t, "CREATE TABLE a (id int)")
	r, err := Run(t.Context(), s.config(db), time.Minute, func(ctx context.Context) error {
		err := s.try(ctx, db, "BEGIN", "LOCK a", "SELECT pg_sleep(0.1)", "COMMIT")
		s.stop()
		return err
	})
	if !errs.Is(err, errs.Unavailable) {
		t.Errorf("got %v", err)
	}
	find(t, r, "public.a", "AccessExclusive")
	if r.Failed() || r.Sampling.Samples < 3 || r.SizeBefore == 0 {
		t.Errorf("got %+v", r)
	}
}
