package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// probeTimeout bounds the questions to a source.
const probeTimeout = 15 * time.Second

// server is what a running source says of itself.
type server struct {
	major       int
	systemID    string
	standby     bool
	slots       bool // it has replication slots to give
	size        int64
	tablespaces []tablespace
	libraries   []string
}

// tablespace is one that has a directory of its own.
type tablespace struct {
	oid      string
	location string
}

// probeServer finds out whether the server can be copied.
func probeServer(ctx context.Context, src database.Source) (database.Facts, int64, error) {
	s, err := askServer(ctx, src)
	if err != nil {
		return database.Facts{}, 0, err
	}
	facts := database.Facts{Major: s.major, SystemID: s.systemID, Standby: s.standby, PreloadLibraries: s.libraries}
	_, refused := loadable(s.libraries)
	for _, r := range refused {
		facts.Warnings = append(facts.Warnings, r+": not loaded")
	}
	facts.Warnings = told(facts.Warnings)
	return facts, s.size, nil
}

// serverQuery asks for what a copy needs to know. System information functions
// need no rights; pg_database_size does, and counts what we may see.
const serverQuery = `SELECT current_setting('server_version_num')::int / 10000,
	pg_is_in_recovery(),
	(SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user),
	current_setting('wal_level'),
	current_setting('max_wal_senders')::int,
	current_setting('max_replication_slots')::int > 0,
	(SELECT coalesce(sum(pg_database_size(oid)), 0)::bigint FROM pg_database
		WHERE has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'MEMBER')),
	(SELECT system_identifier FROM pg_control_system())`

const tablespaceQuery = `SELECT oid, pg_tablespace_location(oid) FROM pg_tablespace WHERE pg_tablespace_location(oid) LIKE '/%'`

// libraryQuery asks without insisting: not every role may know.
const libraryQuery = `SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries'`

// askServer asks a running source.
func askServer(ctx context.Context, src database.Source) (server, error) {
	config, err := parseConnInfo(src)
	if err != nil {
		return server{}, err
	}
	config.RuntimeParams["search_path"] = "pg_catalog"
	config.RuntimeParams["default_transaction_read_only"] = "on"
	config.DialFunc = pgconn.DialFunc(bounded(longAnswers, dialer(config.DialFunc)))
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return server{}, sourceError(err)
	}
	defer closeConn(ctx, conn)
	rows, err := query(ctx, conn, 8, serverQuery)
	if err != nil {
		return server{}, sourceError(err)
	}
	if len(rows) != 1 {
		return server{}, unreachable("the source's answer has %d rows instead of one", len(rows))
	}
	s, err := readServer(rows[0])
	if err != nil {
		return s, err
	}
	if s.tablespaces, err = askTablespaces(ctx, conn); err != nil {
		return s, err
	}
	rows, err = query(ctx, conn, 1, libraryQuery)
	if err != nil {
		return s, sourceError(err)
	}
	if len(rows) > 0 {
		s.libraries = splitLibraries(rows[0][0])
	}
	return s, nil
}

// readServer reads the answer to serverQuery, and refuses what can't be copied.
func readServer(row []string) (s server, err error) {
	major, majorErr := strconv.Atoi(row[0])
	senders, sendersErr := strconv.Atoi(row[4])
	size, sizeErr := strconv.ParseInt(row[6], 10, 64)
	if err := errors.Join(majorErr, sendersErr, sizeErr); err != nil {
		return s, errs.New(errs.Internal, "SOURCE", "the source's answer makes no sense: %w", err)
	}
	s = server{major: major, standby: row[1] == "t", slots: row[5] == "t", size: size, systemID: row[7]}
	if err := checkMajor(major); err != nil {
		return s, err
	}
	if row[2] != "t" {
		return s, denied("the role may not copy the server").WithHint("ALTER ROLE … REPLICATION, on the source")
	}
	if row[3] == "minimal" {
		return s, errs.New(errs.Precondition, "SOURCE_WAL_LEVEL", "%s: the source runs with wal_level = minimal", fieldConnInfo).
			WithHint("set wal_level = replica on the source and restart it, or stop it and copy its directory")
	}
	// One for the files, one for the log meanwhile.
	if senders < 2 {
		return s, errs.New(errs.Precondition, "SOURCE_WAL_SENDERS", "%s: the source runs with max_wal_senders = %d", fieldConnInfo, senders).
			WithHint("set it to 2 or more and restart the source, or stop it and copy its directory")
	}
	return s, nil
}

func askTablespaces(ctx context.Context, conn *pgconn.PgConn) ([]tablespace, error) {
	rows, err := query(ctx, conn, 2, tablespaceQuery)
	if err != nil {
		return nil, sourceError(err)
	}
	var out []tablespace
	for _, row := range rows {
		if _, err := strconv.ParseUint(row[0], 10, 32); err != nil {
			return nil, errs.New(errs.Internal, "SOURCE", "the source has a tablespace with the OID %q", row[0])
		}
		out = append(out, tablespace{oid: row[0], location: row[1]})
	}
	return out, nil
}

func denied(format string, args ...any) *errs.Error {
	e := errs.New(errs.Denied, "SOURCE_DENIED", fieldConnInfo+": "+format, args...)
	e.Field = fieldConnInfo
	return e
}

// sourceError classifies what a source answers, or that it does not.
func sourceError(err error) error {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		switch class := answer.Code[:min(2, len(answer.Code))]; class {
		case "28": // invalid authorization, invalid password
			return denied("the source refuses the login: %s", answer.Message).
				WithHint("check user and password file, and the source's pg_hba.conf")
		case "42":
			return denied("the source refuses: %s", answer.Message)
		case "3D":
			return errs.Fieldf(fieldConnInfo, "%s", answer.Message)
		}
		return unreachable("the source answers: %s", answer.Message)
	}
	var tlsError *tls.CertificateVerificationError
	if errors.As(err, &tlsError) {
		return denied("the source's certificate: %s", tlsError.Err)
	}
	// A ConnectError's text has the whole connection string in it.
	var network net.Error
	var op *net.OpError
	switch {
	case errors.As(err, &op):
		return unreachable("the source does not answer: %s", op)
	case errors.As(err, &network) && network.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return unreachable("the source does not answer in time")
	}
	return unreachable("talking to the source: %s", innermost(err))
}

func unreachable(format string, args ...any) *errs.Error {
	e := errs.New(errs.Unavailable, database.ReasonSourceUnreachable, fieldConnInfo+": "+format, args...)
	e.Field = fieldConnInfo
	return e.WithHint("see whether the source runs, and whether this host may reach it")
}

// innermost is the cause of all the others.
func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
