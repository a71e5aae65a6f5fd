package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// shutOutWithin bounds the ending of others' sessions.
const shutOutWithin = 20 * time.Second

// unwritten is a moment of a clone at which nobody was writing to it.
type unwritten struct {
	clone *clonedv1.Clone
	// conn is a session on it; nil for a clone that did not run then.
	conn *pgx.Conn
	// snapshot says which transactions had ended: not only the last one, for one
	// that began before it may end after.
	snapshot string
}

// noteUnwritten notes the present moment. errs.Conflict (IN_USE) if somebody is
// writing: whether that will have been copied, nobody can know. The session is
// to be closed.
func noteUnwritten(ctx context.Context, clone *clonedv1.Clone) (*unwritten, error) {
	u := &unwritten{clone: clone}
	if clone.GetState() != clonedv1.CloneState_CLONE_STATE_READY {
		return u, nil // nobody writes there
	}
	var err error
	if u.conn, err = connect(ctx, clone); err != nil {
		return nil, err
	}
	open, snapshot, err := writers(ctx, u.conn)
	switch {
	case err != nil:
		err = errWriters(clone, err)
	case open > 0:
		err = errs.New(errs.Conflict, "IN_USE", "%d transactions that write are open in %s: what they write would be lost", open, clone.GetName()).
			WithHint("end them, prepared ones too (pg_stat_activity, pg_prepared_xacts), and repeat")
	}
	if err != nil {
		u.close(ctx)
		return nil, err
	}
	u.snapshot = snapshot
	return u, nil
}

// still returns errs.Conflict (CHANGED) if anybody has written to the clone since,
// or is writing; now is the clone at present. Where nobody has, it shuts everybody
// out first, so that this holds until the session is closed, or the clone's
// database is stopped.
func (u *unwritten) still(ctx context.Context, now *clonedv1.Clone) error {
	if now.GetId() != u.clone.GetId() || now.GetGeneration() != u.clone.GetGeneration() || now.GetState() != u.clone.GetState() {
		return u.changed()
	}
	if u.conn == nil {
		return nil
	}
	if err := u.compare(ctx); err != nil {
		return err // and nobody's session was ended for it
	}
	if err := shutOut(ctx, u.conn); err != nil {
		return errWriters(u.clone, err)
	}
	return u.compare(ctx)
}

func (u *unwritten) compare(ctx context.Context) error {
	open, snapshot, err := writers(ctx, u.conn)
	switch {
	case err != nil:
		return errWriters(u.clone, err)
	case open > 0 || snapshot != u.snapshot:
		return u.changed()
	}
	return nil
}

func (u *unwritten) changed() error {
	return errs.New(errs.Conflict, "CHANGED", "%s was written to meanwhile, and is as it was", u.clone.GetName()).
		WithHint("repeat the merge when nobody writes there")
}

func (u *unwritten) close(ctx context.Context) {
	if u.conn != nil {
		_ = u.conn.Close(context.WithoutCancel(ctx)) // a session that is lost is no loss
	}
}

func errWriters(clone *clonedv1.Clone, err error) error {
	return errs.New(errs.Unavailable, "CONNECT", "asking clone %s who writes to it: %w", clone.GetName(), err)
}

// writers returns how many of others' transactions have written something and are
// open, and which transactions have ended. In this order: one that begins and ends
// in between shows in the second.
func writers(ctx context.Context, conn *pgx.Conn) (open int, ended string, err error) {
	if err := lookAnew(ctx, conn); err != nil {
		return 0, "", err
	}
	err = conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM pg_catalog.pg_prepared_xacts) + (SELECT count(*) FROM pg_catalog.pg_stat_activity
		WHERE backend_xid IS NOT NULL AND backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid())`).Scan(&open)
	if err == nil {
		err = conn.QueryRow(ctx, "SELECT pg_catalog.pg_current_snapshot()::text").Scan(&ended)
	}
	return open, ended, err
}

// lookAnew forgets what a transaction has seen of the sessions.
func lookAnew(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "SELECT pg_catalog.pg_stat_clear_snapshot()")
	return err
}

// shutOut ends all other sessions of a server and lets nobody log in: a login
// looks at pg_database, which is locked until the session is closed. Nothing of
// this is written down, so that the state which undo brings back is not locked.
func shutOut(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, shutOutWithin)
	defer cancel()
	for _, s := range []string{"BEGIN", "SET LOCAL lock_timeout = '5s'", "LOCK TABLE pg_catalog.pg_database IN ACCESS EXCLUSIVE MODE"} {
		if _, err := conn.Exec(ctx, s); err != nil {
			return err
		}
	}
	for {
		if err := lookAnew(ctx, conn); err != nil {
			return err
		}
		// One that is about to log in has a lock before it is listed as a session, or
		// is listed as starting (PostgreSQL 18). Of these, those that wait for our lock
		// are let be: others would come in their place.
		ended, err := conn.Exec(ctx, `SELECT pg_catalog.pg_terminate_backend(pid, 5000) FROM (
				SELECT pid FROM pg_catalog.pg_locks UNION SELECT pid FROM pg_catalog.pg_stat_activity) any_of
			LEFT JOIN pg_catalog.pg_stat_activity s USING (pid)
			WHERE pid <> pg_catalog.pg_backend_pid() AND coalesce(backend_type, 'client backend') = 'client backend'
				AND (coalesce(s.state, 'starting') <> 'starting' OR NOT EXISTS (SELECT FROM pg_catalog.pg_locks w
					WHERE w.pid = any_of.pid AND NOT granted AND relation = 'pg_catalog.pg_database'::pg_catalog.regclass))`)
		if err != nil || ended.RowsAffected() == 0 {
			return err
		}
	}
}
