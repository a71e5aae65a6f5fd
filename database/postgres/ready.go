package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// cannotConnectNow is the SQLSTATE of a server that starts, recovers or stops.
const cannotConnectNow = "57P03"

// readyTimeout bounds one question, for what sits behind the socket may never
// answer.
const readyTimeout = 10 * time.Second

var errNotReady = errors.New("the server does not take connections yet")

// Ready implements database.Engine. It logs in, for that is the whole way which
// users go, and a first session makes the caches that the next ones read. Any
// other answer than "not now" is one, too: a user may have dropped the database,
// or the role.
func (*Engine) Ready(ctx context.Context, t database.Target) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	conn, err := dialAdmin(ctx, t.VolumePath, t.Port)
	if err != nil {
		return notReady(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	f := pgproto3.NewFrontend(conn, conn)
	f.SetMaxBodyLen(maxMessage)
	f.Send(&pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersion30,
		Parameters:      map[string]string{"user": role, "database": databaseOf(t), "application_name": "cloned"},
	})
	if err := f.Flush(); err != nil {
		return notReady(err)
	}
	for {
		message, err := f.Receive()
		if err != nil {
			return notReady(err)
		}
		switch m := message.(type) {
		case *pgproto3.ErrorResponse:
			if m.Code == cannotConnectNow {
				return notReady(errNotReady)
			}
			return nil
		case *pgproto3.AuthenticationOk:
		case pgproto3.AuthenticationResponseMessage: // a user has changed the rules of access
			return nil
		case *pgproto3.ReadyForQuery:
			f.Send(&pgproto3.Terminate{})
			_ = f.Flush() // a courtesy: it has answered
			return nil
		}
	}
}

func notReady(err error) error {
	return errs.New(errs.Unavailable, "NOT_READY", "%w", fmt.Errorf("admin socket: %w", err)).WithPhase(phaseReady)
}
