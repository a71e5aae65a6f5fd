package rehearse

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloned-db/cloned/errs"
)

// server makes the watcher's sessions, which all bear one name of their own, so
// that the watcher can leave them out of what it sees.
type server struct {
	cfg  *pgx.ConnConfig
	name string
}

func newServer(cfg *pgx.ConnConfig) *server {
	s := &server{cfg: cfg.Copy(), name: "rehearse " + rand.Text()}
	if s.cfg.RuntimeParams == nil {
		s.cfg.RuntimeParams = map[string]string{}
	}
	for name, value := range map[string]string{
		"application_name": s.name,
		// What the watcher does is no part of what it watches.
		"pg_stat_statements.track":   "none",
		"log_statement":              "none",
		"log_min_duration_statement": "-1",
		"log_duration":               "off",
		"log_min_messages":           "panic",
		// Nobody's defaults shall end a reading, but it must not wait for ever
		// for a table that the command left locked.
		"statement_timeout":                   "0",
		"idle_in_transaction_session_timeout": "0",
		"lock_timeout":                        "2s",
		// The sizes of ten thousand tables are not worth compiling a query for.
		"jit": "off",
	} {
		s.cfg.RuntimeParams[name] = value
	}
	return s
}

// connect opens a session in a database; empty means that of the configuration.
func (s *server) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	cfg := s.cfg.Copy()
	if database != "" {
		cfg.Database = database
	}
	return pgx.ConnectConfig(ctx, cfg)
}

// home opens a session where it is in nobody's way: one in the database that
// the command works on would make DROP DATABASE and CREATE DATABASE … TEMPLATE
// fail.
func (s *server) home(ctx context.Context) (*pgx.Conn, error) {
	conn, err := s.connect(ctx, "postgres")
	// 55000: it does not take connections.
	if noDatabase(err) || hasCode(err, "55000") {
		return s.connect(ctx, "")
	}
	return conn, err
}

// in runs a function with a session in a database, which it closes.
func (s *server) in(ctx context.Context, database string, do func(*pgx.Conn) error) error {
	conn, err := s.connect(ctx, database)
	if err != nil {
		return err
	}
	defer hangUp(conn)
	return do(conn)
}

// hangUp closes a session, whatever became of the context it worked in.
func hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // the server notices in any case
}

// noDatabase says that a session failed because its database is not there.
func noDatabase(err error) bool { return hasCode(err, "3D000") }

// notAllowed says that a session failed because its user is no superuser: only
// one may change some of the settings that the watcher's sessions have.
func notAllowed(err error) bool { return hasCode(err, "42501") }

// lockTimeout says that a statement waited too long for a lock.
func lockTimeout(err error) bool { return hasCode(err, "55P03") }

func hasCode(err error, code string) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == code
}

// failed is the error of a server that can't be read.
func failed(what string, err error) error {
	return errs.New(errs.Unavailable, "REHEARSE_SERVER", "can't %s: %w", what, err)
}
