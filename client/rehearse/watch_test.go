package rehearse

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/errs"
)

// bigTable is left alone by autovacuum, whose locks a command would wait for.
const bigTable = `CREATE TABLE big WITH (autovacuum_enabled = off) AS SELECT i AS id, repeat('x', 100) AS pad FROM generate_series(1, 200000) i`

func TestRewrite(t *testing.T) {
	s := serve(t, "")
	db := s.newDatabase(t, bigTable, "CREATE INDEX big_id ON big (id)", "CREATE TABLE other (id int)")
	r := s.rehearse(t, db, "ALTER TABLE  big\n ADD COLUMN r float8 DEFAULT random()")
	l := find(t, r, "public.big", "AccessExclusive")
	if !l.BlocksReads || !l.BlocksWrites || l.Database != db || l.Statement != "ALTER TABLE big ADD COLUMN r float8 DEFAULT random()" {
		t.Errorf("got %+v", l)
	}
	if l.Held.Duration > r.Took.Duration || l.Held.Duration < r.Took.Duration/4 || l.Waited.Duration != 0 {
		t.Errorf("held %v, waited %v of %v", l.Held, l.Waited, r.Took)
	}
	if len(r.Rewrites) != 2 || r.Rewrites[0].Table != "public.big" || r.Rewrites[0].Kind != "table" || r.Rewrites[1].Table != "public.big_id" || r.Rewrites[1].Kind != "index" {
		t.Fatalf("got %+v", r.Rewrites)
	}
	w := r.Rewrites[0]
	if w.Bytes < 20e6 || w.OldFilenode == w.NewFilenode || w.OldFilenode == 0 || w.Database != db {
		t.Errorf("got %+v", w)
	}
	if len(r.Created)+len(r.Dropped) != 0 {
		t.Errorf("created %+v, dropped %+v", r.Created, r.Dropped)
	}
	if r.WALBytes < 20e6 || len(r.Growth) != 1 || r.Growth[0].Table != "public.big" || r.Growth[0].Delta < 1e6 || r.SizeAfter <= r.SizeBefore {
		t.Errorf("WAL %d, growth %+v, size %d to %d", r.WALBytes, r.Growth, r.SizeBefore, r.SizeAfter)
	}
	if !r.StatementsSampled || len(r.Statements) == 0 || !strings.HasPrefix(r.Statements[0].Statement, "ALTER TABLE big") ||
		r.Statements[0].Calls != 1 || r.Statements[0].LastSeen.Duration <= r.Statements[0].FirstSeen.Duration {
		t.Errorf("got %+v", r.Statements)
	}
	if r.Failed() || r.Sampling.Samples < 3 || r.Sampling.Interval.Duration != 20*time.Millisecond || r.Sampling.MaxGap.Duration < 15*time.Millisecond {
		t.Errorf("got %+v, %q", r.Sampling, r.Error)
	}
}

func TestCreateIndex(t *testing.T) {
	s := serve(t, "")
	db := s.newDatabase(t, bigTable)
	r := s.rehearse(t, db, "CREATE INDEX big_pad ON big (pad, id)", "SELECT pg_sleep(0.05)")
	l := find(t, r, "public.big", "Share")
	if l.BlocksReads || !l.BlocksWrites {
		t.Errorf("got %+v", l)
	}
	// The lock on the new index is nobody's business.
	if len(r.Locks) != 1 {
		t.Errorf("got %+v", r.Locks)
	}
	if len(r.Created) != 1 || r.Created[0].Name != "public.big_pad" || r.Created[0].Kind != "index" || r.Created[0].Bytes < 1e6 {
		t.Errorf("got %+v", r.Created)
	}
}

func TestCreateIndexConcurrently(t *testing.T) {
	s := serve(t, "")
	db := s.newDatabase(t, bigTable)
	r := s.rehearse(t, db, "CREATE INDEX CONCURRENTLY big_pad ON big (pad, id)")
	if l := find(t, r, "public.big", "ShareUpdateExclusive"); l.BlocksReads || l.BlocksWrites {
		t.Errorf("got %+v", l)
	}
	for _, l := range r.Locks {
		if l.BlocksReads || l.BlocksWrites {
			t.Errorf("got %+v", l)
		}
	}
}

func TestHeld(t *testing.T) {
	s := serve(t, "")
	db := s.newDatabase(t, "CREATE TABLE a (id int)")
	r := s.rehearse(t, db, "SELECT pg_sleep(0.1)", "BEGIN", "LOCK a", "SELECT pg_sleep(0.3)", "COMMIT", "SELECT pg_sleep(0.1)")
	l := find(t, r, "public.a", "AccessExclusive")
	gap := r.Sampling.MaxGap.Duration
	if held := l.Held.Duration; held < 300*time.Millisecond-gap || held > r.Took.Duration-200*time.Millisecond+gap {
		t.Errorf("held %v of %v", held, r.Took)
	}
	if first := l.FirstSeen.Duration; first < 80*time.Millisecond || first > r.Took.Duration-400*time.Millisecond+gap {
		t.Errorf("first seen after %v of %v", first, r.Took)
	}
	if len(r.Locks) != 1 {
		t.Errorf("got %+v", r.Locks)
	}
}

func TestWait(t *testing.T) {
	s := serve(t, "")
	db := s.newDatabase(t, "CREATE TABLE a (id int)")
	r := s.run(t, db, func(ctx context.Context) error {
		reader, err := pgx.ConnectConfig(ctx, s.config(db))
		if err != nil {
			return err
		}
		defer hangUp(reader)
		if _, err := reader.Exec(ctx, "BEGIN; SELECT * FROM a"); err != nil {
			return err
		}
		done := make(chan error, 1)
		go func() {
			done <- s.try(ctx, db, "ALTER TABLE a ADD x int; SELECT pg_sleep(0.1)")
		}()
		eventually(t, "it waits", func() error {
			var n int
			if err := reader.QueryRow(ctx, "SELECT count(*) FROM pg_locks WHERE NOT granted").Scan(&n); err != nil || n == 0 {
				return fmt.Errorf("%d wait: %w", n, err)
			}
			return nil
		})
		time.Sleep(300 * time.Millisecond)
		if _, err := reader.Exec(ctx, "COMMIT"); err != nil {
			return err
		}
		return <-done
	})
	l := find(t, r, "public.a", "AccessExclusive")
	gap := r.Sampling.MaxGap.Duration
	if waited := l.Waited.Duration; waited < 300*time.Millisecond-gap || waited > r.Took.Duration-100*time.Millisecond+gap {
		t.Errorf("waited %v of %v", waited, r.Took)
	}
	if held := l.Held.Duration; held < 100*time.Millisecond-gap || held > r.Took.Duration-300*time.Millisecond+gap {
		t.Errorf("held %v of %v", held, r.Took)
	}
	if r.WeakLocks == 0 || r.Failed() {
		t.Errorf("%d weak locks, %q", r.WeakLocks, r.Error)
	}
}

func TestDropped(t *testing.T) {
	s := serve(t, "")
	db := s.newDatabase(t, `CREATE TABLE "The Old" (id int PRIMARY KEY)`, "CREATE VIEW v AS SELECT 1")
	r := s.rehearse(t, db, "BEGIN", `DROP TABLE "The Old"`, "DROP VIEW v", "SELECT pg_sleep(0.1)", "COMMIT")
	find(t, r, `public."The Old"`, "AccessExclusive")
	find(t, r, "public.v", "AccessExclusive")
	var names []string
	for _, d := range r.Dropped {
		names = append(names, d.Kind+" "+d.Name)
	}
	if got := strings.Join(names, ", "); got != `table public."The Old", index public."The Old_pkey", view public.v` {
		t.Errorf("got %s", got)
	}
}

// TestNewTable checks that locks on a relation count once others can see it.
func TestNewTable(t *testing.T) {
	s := serve(t, "")
	db := s.newDatabase(t)
	r := s.rehearse(t, db,
		"BEGIN", "CREATE TABLE n (id int)", "CREATE TEMP TABLE tmp (id int)", "SELECT pg_sleep(0.1)", "COMMIT",
		"BEGIN", "LOCK n", "LOCK tmp", "SELECT pg_sleep(0.1)", "COMMIT")
	if len(r.Locks) != 1 || r.PrivateLocks < 3 {
		t.Errorf("%d private locks, and %+v", r.PrivateLocks, r.Locks)
	}
	if l := find(t, r, "public.n", "AccessExclusive"); l.Statement != "SELECT pg_sleep(0.1)" && l.Statement != "LOCK n" && l.Statement != "LOCK tmp" {
		t.Errorf("got %+v", l)
	}
	if len(r.Created) != 1 || r.Created[0].Name != "public.n" {
		t.Errorf("got %+v", r.Created)
	}
}

func TestWeakOnly(t *testing.T) {
	s := serve(t, "")
	db := s.newDatabase(t, "CREATE TABLE a (id int)")
	r := s.rehearse(t, db, "BEGIN", "INSERT INTO a VALUES (1)", "SELECT * FROM a FOR UPDATE", "SELECT pg_sleep(0.1)", "COMMIT")
	if len(r.Locks) != 0 || r.WeakLocks != 2 || r.Locks == nil {
		t.Errorf("%d weak locks, and %+v", r.WeakLocks, r.Locks)
	}
}

func TestDatabases(t *testing.T) {
	s := serve(t, "")
	one := s.newDatabase(t, "CREATE TABLE a (id int)")
	two := s.newDatabase(t, "CREATE TABLE b (id int)")
	gone := s.newDatabase(t, "CREATE TABLE c (id int)")
	fresh := "fresh_" + one
	r := s.run(t, one, func(ctx context.Context) error {
		if err := s.try(ctx, two, "BEGIN", "LOCK b IN EXCLUSIVE MODE", "INSERT INTO b SELECT generate_series(1, 1000)", "SELECT pg_sleep(0.1)", "COMMIT"); err != nil {
			return err
		}
		// Neither may be kept from it by the watcher's sessions.
		if err := s.try(ctx, "postgres", "DROP DATABASE "+gone, "CREATE DATABASE "+fresh+" TEMPLATE "+one); err != nil {
			return err
		}
		return s.try(ctx, fresh, "CREATE TABLE n (id int)", "BEGIN", "LOCK n", "LOCK a", "SELECT pg_sleep(0.1)", "COMMIT")
	})
	if r.Failed() {
		t.Fatal(r.Error)
	}
	if l := find(t, r, "public.b", "Exclusive"); l.Database != two || l.BlocksReads || !l.BlocksWrites {
		t.Errorf("got %+v", l)
	}
	if l := find(t, r, "public.n", "AccessExclusive"); l.Database != fresh {
		t.Errorf("got %+v", l)
	}
	find(t, r, "public.a", "AccessExclusive")
	if len(r.Dropped) != 1 || r.Dropped[0].Database != gone || len(r.Created) != 2 || r.Created[1].Database != fresh {
		t.Errorf("dropped %+v, created %+v", r.Dropped, r.Created)
	}
	if len(r.Growth) != 1 || r.Growth[0].Table != "public.b" {
		t.Errorf("got %+v", r.Growth)
	}
}

func TestWatchErrors(t *testing.T) {
	s := serve(t, "")
	db := s.newDatabase(t)
	for _, d := range []time.Duration{0, time.Microsecond, 51 * time.Millisecond} {
		if _, err := Watch(t.Context(), s.config(db), WithInterval(d)); !errs.Is(err, errs.Invalid) {
			t.Errorf("interval %v: got %v", d, err)
		}
	}
	s.exec(t, db, "CREATE ROLE plain_"+db+" LOGIN")
	cfg := s.config(db)
	cfg.User = "plain_" + db
	if _, err := Watch(t.Context(), cfg); !errs.Is(err, errs.Denied) {
		t.Errorf("got %v", err)
	}
	cfg = s.config(db)
	cfg.Port = 1
	if _, err := Run(t.Context(), cfg, 0, func(context.Context) error { t.Error("it ran"); return nil }); !errs.Is(err, errs.Unavailable) {
		t.Errorf("got %v", err)
	}
	s.nothingLeft(t)
}
