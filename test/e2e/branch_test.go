package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloned-db/cloned/test/harness"
)

// TestBranch follows a clone under write load through snapshots, forks and
// resets: its connections live on, what is taken is consistent, and in the end
// nothing is left.
func TestBranch(t *testing.T) {
	eachWith(t, "undo=24h", func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		main := e.Create("main")
		w := startWriter(t, main.Endpoint.URL)

		e.Ctl("snapshot", "main@v1", "-m", "before the migration")
		atV1 := w.mark()
		fork := e.Create("fork", "--from", "main")
		atFork := w.mark()
		old := e.Create("old", "--from", "main@v1")
		w.stop(t)
		harness.ExecSQL(t, main.Endpoint.URL, "CREATE TABLE migrated (x int)")

		steps := func(c harness.Clone) int64 {
			t.Helper()
			if n := harness.QueryInt(t, c.Endpoint.URL, "SELECT count(*) FROM ledger WHERE debit <> -credit"); n != 0 {
				t.Errorf("%s has %d half transactions", c.Name, n)
			}
			if n := harness.QueryInt(t, c.Endpoint.URL, "SELECT max(id) - count(*) FROM ledger"); n != 0 {
				t.Errorf("%s lacks %d transactions in between", c.Name, n)
			}
			harness.ExecSQL(t, c.Endpoint.URL, "REINDEX TABLE ledger") // reads all of it
			return harness.QueryInt(t, c.Endpoint.URL, "SELECT max(id) FROM ledger")
		}
		if n := steps(old); n == 0 || n > atV1 {
			t.Errorf("the fork of v1 has %d transactions, and %d were written when the snapshot was there", n, atV1)
		}
		if n := steps(fork); n < atV1 || n > atFork {
			t.Errorf("the fork has %d transactions, not between %d and %d", n, atV1, atFork)
		}
		if err := harness.TrySQL(t.Context(), withPasswordOf(t, fork.Endpoint.URL, main.Endpoint.URL), "SELECT 1"); err == nil {
			t.Error("the parent's password opens the fork")
		}

		e.Ctl("label", "main", "team=billing")
		e.Ctl("extend", "main", "3h")
		before := e.Show("main")
		closed := session(t, main.Endpoint.URL)
		e.Ctl("reset", "main", "--to", "v1")
		if err := closed(); !adminShutdown(err) {
			t.Errorf("a connection that the reset closed was told: %v", err)
		}
		again := e.Show("main")
		if again.Endpoint != main.Endpoint {
			t.Errorf("the endpoint changed from %+v to %+v", main.Endpoint, again.Endpoint)
		}
		if again.Labels["team"] != "billing" || again.ExpireTime == "" || again.ExpireTime != before.ExpireTime {
			t.Errorf("labels and lease are %v until %q, and were %v until %q", again.Labels, again.ExpireTime, before.Labels, before.ExpireTime)
		}
		if n := harness.QueryInt(t, main.Endpoint.URL, "SELECT count(*) FROM pg_tables WHERE tablename = 'migrated'"); n != 0 {
			t.Error("the reset left a table that v1 has not")
		}
		if a, b := steps(again), steps(old); a != b {
			t.Errorf("v1 has %d transactions in one and %d in the other", a, b)
		}
		if log := e.Ctl("log", "main"); !strings.Contains(log, "v1") || !strings.Contains(log, "before the migration") {
			t.Errorf("log: %s", log)
		}

		e.Ctl("rm", "main")
		steps(fork)
		steps(old)
		type node struct {
			Name        string
			Deleted     bool
			UniqueBytes json.Number
		}
		var shown []string
		// What ZFS counts is some seconds old.
		harness.Eventually(t, 20*time.Second, "the deleted ancestor takes space", func() error {
			var tree []node
			if err := json.Unmarshal([]byte(e.Ctl("tree", "-o", "json")), &tree); err != nil {
				t.Fatal(err)
			}
			shown = nil
			for _, n := range tree {
				shown = append(shown, fmt.Sprintf("%s %v", n.Name, n.Deleted))
			}
			i := slices.IndexFunc(tree, func(n node) bool { return n.Name == "main" })
			if i < 0 {
				return errors.New("there is none")
			}
			if held, err := tree[i].UniqueBytes.Int64(); err != nil || held == 0 {
				return fmt.Errorf("it is said to take %q bytes", tree[i].UniqueBytes)
			}
			return nil
		})
		// As long as main can be brought back, so can its snapshot.
		for _, want := range []string{"shop false", "main true", "v1 false", "fork false", "old false"} {
			if !strings.Contains(strings.Join(shown, ", "), want) {
				t.Errorf("the tree has no %q: %q", want, shown)
			}
		}
		e.Ctl("suspend", "fork")
		e.Create("fork-of-fork", "--from", "fork")
		e.Ctl("rm", "fork")
		e.CheckNothingLeft()
		e.Ctl("rm", "--now", "main", "old", "fork", "fork-of-fork")
		e.CheckNothingLeft()
		if kept := e.Deleted(); len(kept) > 0 {
			t.Errorf("still kept: %v", kept)
		}
	})
}

// session opens a connection that waits in a statement; the function returns what
// it is told in the end.
func session(t *testing.T, url string) (ended func() error) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "SELECT pg_sleep(3600)")
		end <- errors.Join(err, conn.Close(context.WithoutCancel(t.Context())))
	}()
	return func() error { return <-end }
}

// adminShutdown says whether the server itself told why it closed the connection.
func adminShutdown(err error) bool {
	var told *pgconn.PgError
	return errors.As(err, &told) && told.Code == "57P01" // "terminating connection due to administrator command"
}

// writer writes one transaction after the other over one connection.
type writer struct {
	asked, marks chan int64
	ended        chan error
}

func startWriter(t *testing.T, url string) *writer {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	harness.ExecSQL(t, url, "CREATE TABLE ledger (id bigint PRIMARY KEY, debit bigint, credit bigint)")
	w := &writer{asked: make(chan int64), marks: make(chan int64), ended: make(chan error, 1)}
	go func() { w.ended <- w.write(t.Context(), conn) }()
	return w
}

func (w *writer) write(ctx context.Context, conn *pgx.Conn) error {
	defer conn.Close(context.WithoutCancel(ctx))
	for id := int64(1); ; id++ {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "INSERT INTO ledger VALUES ($1, $2, 0)", id, -id); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "UPDATE ledger SET credit = $2 WHERE id = $1", id, id)
			return err
		})
		if err != nil {
			return fmt.Errorf("transaction %d: %w", id, err)
		}
		select {
		case _, more := <-w.asked:
			if !more {
				return nil
			}
			w.marks <- id
		default:
		}
	}
}

// mark returns how many transactions have been written.
func (w *writer) mark() int64 {
	select {
	case w.asked <- 0:
		return <-w.marks
	case err := <-w.ended:
		w.ended <- err
		return -1
	}
}

// stop ends the writing, during which the connection must not have been lost.
func (w *writer) stop(t *testing.T) {
	t.Helper()
	close(w.asked)
	if err := <-w.ended; err != nil {
		t.Error("the parent's connection:", err)
	}
}

// withPasswordOf is the URL with another's password.
func withPasswordOf(t *testing.T, of, other string) string {
	t.Helper()
	u, err := url.Parse(of)
	if err != nil {
		t.Fatal(err)
	}
	o, err := url.Parse(other)
	if err != nil {
		t.Fatal(err)
	}
	u.User = o.User
	return u.String()
}
