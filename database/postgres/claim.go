package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// setPassword sets what the server keeps of the role's password, unless it is
// nothing. Whose server it is need not be asked: it answers on the volume.
func setPassword(ctx context.Context, conn *pgconn.PgConn, v verifier) error {
	if v.err != nil {
		return errs.New(errs.Internal, "PASSWORD", "%w", v.err)
	}
	if v.text == "" {
		return nil
	}
	// ALTER ROLE would take ten times as long: it tries whether the verifier is
	// that of an empty password, in 4096 rounds. A verifier is of base64, ":", "$"
	// and "-" and needs no quoting.
	rows, err := query(ctx, conn, 1, "UPDATE pg_authid SET rolpassword = '"+v.text+"' WHERE rolname = '"+role+"' RETURNING 1")
	if err != nil {
		return instanceError("setting the password", err)
	}
	if len(rows) != 1 {
		return errs.New(errs.Precondition, "INSTANCE", "the role %s is gone", role)
	}
	return nil
}

// Claim implements database.Engine. It goes the way that users go, and sees who
// answers.
func (*Engine) Claim(ctx context.Context, t database.Target) error {
	return inPhase(phaseClaim, logIn(ctx, t))
}

func logIn(ctx context.Context, t database.Target) error {
	config, err := loginConfig(databaseOf(t))
	if err != nil {
		return errs.New(errs.Internal, "LOGIN", "%w", err)
	}
	config.Host, config.Port, config.Password = t.Addr, uint16(t.Port), t.Password.Reveal()
	var d net.Dialer
	config.DialFunc = pgconn.DialFunc(bounded(shortAnswers, d.DialContext))
	conn, err := pgconn.ConnectConfig(ctx, config)
	var answer *pgconn.PgError
	if errors.As(err, &answer) && strings.HasPrefix(answer.Code, "28") {
		return wrongInstance(t, fmt.Sprintf("refuses our login: %s", answer.Message))
	}
	if err != nil {
		return instanceError(fmt.Sprintf("logging in at %s port %d", t.Addr, t.Port), err)
	}
	defer closeConn(ctx, conn)
	err = identify(ctx, conn, t.ID)
	if e := errs.As(err); err != nil && e.Reason == database.ReasonWrongInstance {
		return wrongInstance(t, e.Message)
	}
	return err
}

// identify returns errs.Conflict unless the instance is the one of the ID.
func identify(ctx context.Context, conn *pgconn.PgConn, id string) error {
	rows, err := query(ctx, conn, 1, "SHOW "+instanceSetting)
	var answer *pgconn.PgError
	if err != nil && !errors.As(err, &answer) {
		return instanceError("asking the instance for its ID", err)
	}
	if len(rows) == 1 && rows[0][0] == id {
		return nil
	}
	return errs.New(errs.Conflict, database.ReasonWrongInstance, "says that it is %q and not %q", rows, id)
}

func wrongInstance(t database.Target, what string) error {
	return errs.New(errs.Conflict, database.ReasonWrongInstance, "what answers at %s port %d %s", t.Addr, t.Port, what).
		WithHint("see what else listens on that port")
}

// instanceError is an error of talking to an instance.
func instanceError(doing string, err error) error {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return errs.New(errs.Precondition, "INSTANCE", "%s: %w", doing, answer)
	}
	// A ConnectError's text has more in it than helps.
	return errs.New(errs.Unavailable, "INSTANCE", "%s: %w", doing, innermost(err))
}
