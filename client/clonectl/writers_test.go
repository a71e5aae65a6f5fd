package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
	"github.com/cloned-db/cloned/test/harness"
)

// newServer starts a PostgreSQL server, and returns a clone that it is.
func newServer(t *testing.T) (*harness.Server, *clonedv1.Clone) {
	t.Helper()
	s := harness.NewServer(t, "autovacuum=off") // which writes too
	return s, &clonedv1.Clone{
		Id: "1", Name: "dev", State: clonedv1.CloneState_CLONE_STATE_READY, Generation: 1,
		Endpoint: &clonedv1.Endpoint{Url: s.URL("postgres")},
	}
}

func session(t *testing.T, clone *clonedv1.Clone, statements ...string) *pgx.Conn {
	t.Helper()
	conn, err := connect(t.Context(), clone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	for _, s := range statements {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

// TestUnwritten: what is committed after a copy of a clone was made is noticed,
// in whatever order it began.
func TestUnwritten(t *testing.T) {
	_, dev := newServer(t)
	session(t, dev, "CREATE TABLE t (x int)")
	old := session(t, dev, "BEGIN", "INSERT INTO t VALUES (1)")
	young := session(t, dev, "BEGIN", "INSERT INTO t VALUES (2)")
	late := session(t, dev, "BEGIN", "SELECT 1") // writes nothing yet
	note := func() *unwritten {
		t.Helper()
		u, err := noteUnwritten(t.Context(), dev)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { u.close(context.Background()) })
		return u
	}
	refused := func(what string) {
		t.Helper()
		if _, err := noteUnwritten(t.Context(), dev); errs.As(err).Reason != "IN_USE" {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("two transactions are open")
	if _, err := young.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	refused("the older one is open")
	_, was, err := writers(t.Context(), young)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if _, is, err := writers(t.Context(), young); err != nil || is == was {
		t.Errorf("a transaction that began before another one ended shows nowhere: %s, %v", is, err)
	}
	session(t, dev, "BEGIN", "INSERT INTO t VALUES (3)", "PREPARE TRANSACTION 'p'")
	refused("one is prepared")
	session(t, dev, "ROLLBACK PREPARED 'p'")

	u := note()
	if _, err := late.Exec(t.Context(), "INSERT INTO t VALUES (4)"); err != nil {
		t.Fatal(err)
	}
	if err := u.still(t.Context(), dev); errs.As(err).Reason != "CHANGED" {
		t.Errorf("somebody is writing: %v", err)
	}
	if _, err := late.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := u.still(t.Context(), dev); errs.As(err).Reason != "CHANGED" {
		t.Errorf("somebody has written: %v", err)
	}
	session(t, dev) // they were not shut out for this

	reset := &clonedv1.Clone{Id: "1", Name: "dev", State: dev.State, Generation: 2}
	if err := note().still(t.Context(), reset); errs.As(err).Reason != "CHANGED" {
		t.Errorf("it was reset: %v", err)
	}
	suspended := &clonedv1.Clone{Id: "1", Name: "dev", State: clonedv1.CloneState_CLONE_STATE_SUSPENDED, Generation: 1}
	v, err := noteUnwritten(t.Context(), suspended)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.still(t.Context(), suspended); err != nil {
		t.Errorf("nobody writes to what is suspended: %v", err)
	}
	if err := v.still(t.Context(), dev); errs.As(err).Reason != "CHANGED" {
		t.Errorf("it was resumed: %v", err)
	}
}

// TestShutOut: once nobody has written, nobody can.
func TestShutOut(t *testing.T) {
	s, dev := newServer(t)
	session(t, dev, "CREATE TABLE t (x int)")
	idle := session(t, dev, "BEGIN", "SELECT count(*) FROM t")
	u, err := noteUnwritten(t.Context(), dev)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.still(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	if _, err := idle.Exec(t.Context(), "INSERT INTO t VALUES (1); COMMIT"); err == nil {
		t.Error("a session that was there writes")
	}
	// One that logs in waits until we have gone.
	came := make(chan error, 1)
	go func() { came <- harness.TrySQL(context.Background(), s.URL("postgres"), "INSERT INTO t VALUES (2)") }()
	waiting := func() error {
		var n int
		err := u.conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'pg_database'::regclass").Scan(&n)
		if err == nil && n != 1 {
			return errors.New("nobody waits")
		}
		return err
	}
	harness.Eventually(t, 10*time.Second, "the login waits", waiting)
	if err := u.compare(t.Context()); err != nil {
		t.Errorf("somebody wrote: %v", err)
	}
	if err := shutOut(t.Context(), u.conn); err != nil {
		t.Errorf("with one that waits: %v", err)
	}
	if err := waiting(); err != nil {
		t.Errorf("the one that waits: %v", err)
	}
	u.close(t.Context())
	if err := <-came; err != nil {
		t.Errorf("nobody was let in again: %v", err)
	}
	if n := harness.QueryInt(t, s.URL("postgres"), "SELECT count(*) FROM t"); n != 1 {
		t.Errorf("there are %d rows", n)
	}
	if out := harness.QueryText(t, s.URL("postgres"), "SELECT datallowconn::text || datconnlimit FROM pg_database WHERE datname = 'postgres'"); !strings.HasPrefix(out, "true-1") {
		t.Errorf("something is left in the catalog: %s", out)
	}
}
