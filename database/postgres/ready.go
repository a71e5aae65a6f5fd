package postgres

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// cannotConnectNow is the SQLSTATE of a server that starts, recovers or stops.
const cannotConnectNow = "57P03"

// readyTimeout bounds one try, for what sits behind the socket may never answer.
const readyTimeout = 10 * time.Second

// Ready implements database.Engine. It logs in, for that is the whole way which
// users go, and a first session makes the caches that the next ones read: as
// sessions of a server that has just started are dear, the password is set in
// that same one.
func (*Engine) Ready(ctx context.Context, t database.Target) error {
	if note := serverNote(t); note != "" {
		return notReady(errors.New(note))
	}
	verifier := verifierOf(t.Password.Reveal()) // is made while the server makes the session
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	conn, err := connectAdmin(ctx, t, databaseOf(t), shortAnswers)
	var answer *pgconn.PgError
	switch {
	case err == nil:
		defer closeConn(ctx, conn)
		return inPhase(phaseReady, setPassword(ctx, conn, <-verifier))
	case !errors.As(err, &answer) || answer.Code == cannotConnectNow:
		return notReady(innermost(err))
	case t.Password == "": // a user may have dropped the database, or the role
		return nil
	default:
		return inPhase(phaseReady, instanceError("connecting to the admin socket", err))
	}
}

// noteAge is how long a server's note that does not say that it is ready is
// believed: one whose disk is full can't change it.
const noteAge = time.Second

// serverNote is what the server's lock file says against asking it now; "" if
// nothing. To be asked would cost a starting server a process each time, while
// it has better things to do. It is only a hint, for the file is the clone's
// user's. See LOCK_FILE_LINE_PM_STATUS in PostgreSQL's miscadmin.h.
func serverNote(t database.Target) string {
	volume, err := os.OpenRoot(t.VolumePath)
	if err != nil {
		return err.Error()
	}
	defer volume.Close()
	name := path.Join(t.DataDir, "postmaster.pid")
	info, err := volume.Lstat(name)
	if err != nil {
		return err.Error() // it makes the file first of all, and ends without it
	}
	content, err := readFile(volume, name, maxConf)
	if err == nil && !bytes.Contains(content, []byte("\nready")) && time.Since(info.ModTime()) < noteAge {
		return "it is starting"
	}
	return ""
}

func notReady(err error) error {
	return errs.New(errs.Unavailable, "NOT_READY", "admin socket: %w", err).WithPhase(phaseReady)
}
