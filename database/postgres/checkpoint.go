package postgres

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloned-db/cloned/database"
)

// keepSession is for how long a session is used again that took a checkpoint: who
// forks a clone often does so again, and to begin and to end a session is more work
// for its server than the checkpoint of a moment. It is less than the five seconds for
// which DROP DATABASE waits for sessions to end (see CountOtherDBBackends in
// PostgreSQL's procarray.c).
const keepSession = 3 * time.Second

// Checkpoint implements database.Engine.
func (e *Engine) Checkpoint(ctx context.Context, t database.Target) error {
	s := e.kept.take(t.VolumePath)
	if s == nil || checkpoint(ctx, s.conn) != nil { // its server may have ended since
		conn, err := connectCalm(ctx, t)
		if err != nil {
			return instanceError("connecting to the admin socket", err)
		}
		s = &keptSession{conn: conn, until: time.Now().Add(e.kept.keepFor)}
		if err := checkpoint(ctx, conn); err != nil {
			return instanceError("checkpoint", err)
		}
	}
	e.kept.keep(t.VolumePath, s)
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

// connectCalm logs in where hardly anybody minds a session: users drop and copy the
// databases that they work in.
func connectCalm(ctx context.Context, t database.Target) (*pgconn.PgConn, error) {
	conn, err := connectAdmin(ctx, t, maintenance, shortAnswers)
	var refused *pgconn.PgError
	if errors.As(err, &refused) { // a user may have dropped it
		return connectAdmin(ctx, t, databaseOf(t), shortAnswers)
	}
	return conn, err
}

// kept are the sessions that may be used again, by the path of their server's volume.
type kept struct {
	keepFor  time.Duration
	mu       sync.Mutex
	sessions map[string]*keptSession
}

type keptSession struct {
	conn  *pgconn.PgConn
	until time.Time
}

// take returns a session; nil if there is none.
func (k *kept) take(volumePath string) *keptSession {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.sessions[volumePath]
	delete(k.sessions, volumePath)
	return s
}

// keep has a session wait until its time is over. There is one for each server.
func (k *kept) keep(volumePath string, s *keptSession) {
	k.mu.Lock()
	other := k.sessions[volumePath]
	k.sessions[volumePath] = s
	k.mu.Unlock()
	if other != nil {
		closeConn(context.Background(), other.conn)
	}
	time.AfterFunc(time.Until(s.until), func() {
		k.mu.Lock()
		waits := k.sessions[volumePath] == s
		if waits {
			delete(k.sessions, volumePath)
		}
		k.mu.Unlock()
		if waits {
			closeConn(context.Background(), s.conn)
		}
	})
}
