package postgres

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloned-db/cloned/database"
)

// keepSession is how long the session that took a checkpoint waits for the next
// one: who forks a clone often does so again, and to begin and to end a session is
// more work for its server than the checkpoint of a moment. It is less than the
// five seconds for which DROP DATABASE waits for sessions to end (see
// CountOtherDBBackends in PostgreSQL's procarray.c).
const keepSession = 2 * time.Second

// Checkpoint implements database.Engine.
func (e *Engine) Checkpoint(ctx context.Context, t database.Target) error {
	conn := e.kept.take(t.VolumePath)
	if conn == nil || checkpoint(ctx, conn) != nil { // its server may have ended since
		var err error
		if conn, err = connectCalm(ctx, t); err != nil {
			return instanceError("connecting to the admin socket", err)
		}
		if err := checkpoint(ctx, conn); err != nil {
			return instanceError("checkpoint", err)
		}
	}
	e.kept.keep(t.VolumePath, conn)
	return nil
}

// checkpoint takes a checkpoint, or ends the session.
func checkpoint(ctx context.Context, conn *pgconn.PgConn) error {
	_, err := query(ctx, conn, 0, "CHECKPOINT")
	if err != nil {
		closeConn(ctx, conn)
	}
	return err
}

// connectCalm logs in where nobody minds a session: users drop and copy the
// databases that they work in.
func connectCalm(ctx context.Context, t database.Target) (*pgconn.PgConn, error) {
	conn, err := connectAdmin(ctx, t, maintenance, shortAnswers)
	var refused *pgconn.PgError
	if errors.As(err, &refused) { // a user may have dropped it
		return connectAdmin(ctx, t, databaseOf(t), shortAnswers)
	}
	return conn, err
}

// kept are sessions that wait to be used again, by the path of their server's volume.
type kept struct{ sessions sync.Map }

type keptSession struct {
	conn *pgconn.PgConn
	end  *time.Timer
}

// take returns a session that waits; nil if none does.
func (k *kept) take(volumePath string) *pgconn.PgConn {
	s, ok := k.sessions.LoadAndDelete(volumePath)
	if !ok {
		return nil
	}
	s.(*keptSession).end.Stop()
	return s.(*keptSession).conn
}

// keep has a session wait, and end if nobody takes it.
func (k *kept) keep(volumePath string, conn *pgconn.PgConn) {
	s := &keptSession{conn: conn}
	s.end = time.AfterFunc(keepSession, func() {
		if k.sessions.CompareAndDelete(volumePath, s) {
			closeConn(context.Background(), conn)
		}
	})
	if other, ok := k.sessions.Swap(volumePath, s); ok {
		other.(*keptSession).end.Stop()
		closeConn(context.Background(), other.(*keptSession).conn)
	}
}
