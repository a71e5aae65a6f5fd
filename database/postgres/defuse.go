package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloned-db/cloned/errs"
)

// stopServer ends the server from within, as pg_ctl does: servers work in their
// data directory, and the first line of the file there is the process to signal.
// The server then ends its sessions with all that they have started: the shell
// must not count that as its failure.
const stopServer = `COPY (SELECT 1) TO PROGRAM 'trap "" TERM; cat >/dev/null; kill -INT "$(head -n 1 postmaster.pid)"'`

// stopTimeout bounds how long a connection lasts after it told its server to
// stop; the server itself may take as long as its checkpoint does.
const stopTimeout = 30 * time.Second

// work does all that a server is needed for, and ends with its shutdown.
func (p *preparation) work(ctx context.Context) error {
	p.report("defusing", 0, 0)
	if err := p.makeRole(ctx); err != nil {
		return err
	}
	conn, err := p.connectAny(ctx, role)
	if err != nil {
		return err
	}
	defer func() { closeConn(context.WithoutCancel(ctx), conn) }()
	// First, for they hold locks.
	if err := p.rollBackPrepared(ctx, conn); err != nil {
		return err
	}
	databases, err := p.databases(ctx, conn)
	if err != nil {
		return err
	}
	for i, db := range databases {
		p.report(fmt.Sprintf("defusing database %d of %d", i+1, len(databases)), 0, 0)
		err := p.in(ctx, db.name, func(ctx context.Context, conn *pgconn.PgConn) error {
			if err := p.defuseDatabase(ctx, conn); err != nil {
				return err
			}
			return p.noteReadAhead(ctx, conn, db.name)
		})
		if err != nil {
			return err
		}
	}
	if err := p.defuseCluster(ctx, conn); err != nil {
		return err
	}
	if p.req.Vacuum {
		if err := p.vacuum(ctx, databases); err != nil {
			return err
		}
	}
	if err := p.measure(ctx, conn); err != nil {
		return err
	}
	p.report("checkpoint", 0, 0)
	// The log up to here holds what was taken away; a new file begins, and the
	// checkpoint removes the others.
	if _, err := query(ctx, conn, 1, "SELECT pg_switch_wal()"); err != nil {
		return sqlError("switching the log", err)
	}
	if _, err := query(ctx, conn, 0, "CHECKPOINT"); err != nil {
		return sqlError("checkpoint", err)
	}
	return p.stop(ctx, conn)
}

// stop tells the server to shut down. It ends the session as it does so, before
// or after its answer.
func (p *preparation) stop(ctx context.Context, conn *pgconn.PgConn) error {
	p.report("shutting down", 0, 0)
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	_, err := query(ctx, conn, 0, stopServer)
	var answer *pgconn.PgError
	if errors.As(err, &answer) && answer.Code != adminShutdown || ctx.Err() != nil {
		return sqlError("shutting down", err)
	}
	return nil
}

// adminShutdown is the SQLSTATE with which a server that stops ends sessions.
const adminShutdown = "57P01"

// makeRole makes the role that clones use, as the cluster's first superuser. A
// role of that name which the source has is taken over: in a clone it is a
// superuser, and nobody knows its password.
func (p *preparation) makeRole(ctx context.Context) error {
	var names []string
	err := p.within(func(_, data *os.Root) (err error) {
		names, err = bootstrapNames(data)
		return err
	})
	if err != nil {
		return errs.New(errs.Corrupt, "NO_SUPERUSER", "looking for the superuser's name: %w", err)
	}
	var conn *pgconn.PgConn
	for _, name := range names {
		if conn, err = p.connectAny(ctx, name); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	rows, err := query(ctx, conn, 1, "SELECT 1 FROM pg_roles WHERE rolname = '"+role+"'")
	if err != nil {
		return sqlError("looking for the role", err)
	}
	do := "CREATE"
	if len(rows) > 0 {
		do = "ALTER"
		p.defused("role " + role + " of the source: taken over, and a superuser now")
	}
	const powers = " ROLE " + role + " SUPERUSER LOGIN INHERIT CREATEDB CREATEROLE REPLICATION BYPASSRLS CONNECTION LIMIT -1 PASSWORD NULL VALID UNTIL 'infinity'"
	if _, err := query(ctx, conn, 0, do+powers+"; ALTER ROLE "+role+" RESET ALL"); err != nil {
		return sqlError("making the role", err)
	}
	return nil
}

// connectAny connects to a database that every cluster has, unless somebody
// dropped it.
func (p *preparation) connectAny(ctx context.Context, user string) (*pgconn.PgConn, error) {
	conn, err := p.connect(ctx, user, maintenance)
	var answer *pgconn.PgError
	if errors.As(err, &answer) && answer.Code == "3D000" {
		return p.connect(ctx, user, "template1")
	}
	return conn, err
}

func (p *preparation) connect(ctx context.Context, user, db string) (*pgconn.PgConn, error) {
	config, err := adminLogin(p.req.Volume.Path, port, db, longAnswers)
	if err != nil {
		return nil, errs.New(errs.Internal, "DATABASE", "%w", err)
	}
	config.User = user
	maps.Copy(config.RuntimeParams, of(calmSince, p.req.Facts.Major))
	conn, err := pgconn.ConnectConfig(ctx, config)
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return nil, errs.New(errs.Precondition, "DATABASE", "connecting to the database %s: %s: %w", strconv.Quote(db), answer.Detail, answer).
			WithHint("if it needs a locale that the image lacks, choose an image that has it")
	}
	if err != nil {
		return nil, errs.New(errs.Internal, "DATABASE", "connecting to the database %s: %w", strconv.Quote(db), innermost(err))
	}
	return conn, nil
}

// in runs f on a session in the database.
func (p *preparation) in(ctx context.Context, db string, f func(context.Context, *pgconn.PgConn) error) error {
	conn, err := p.connect(ctx, role, db)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	return f(ctx, conn)
}

// db is a database of the cluster.
type db struct {
	name     string
	template bool
	size     int64
}

// databases returns those that accept connections. One that was dropped halfway
// has a connection limit of -2.
func (p *preparation) databases(ctx context.Context, conn *pgconn.PgConn) ([]db, error) {
	const sql = `SELECT datname, datistemplate, pg_database_size(oid) FROM pg_database
		WHERE datallowconn AND datconnlimit <> -2 ORDER BY datname`
	rows, err := query(ctx, conn, 3, sql)
	if err != nil {
		return nil, sqlError("listing databases", err)
	}
	var out []db
	for _, row := range rows {
		size, err := strconv.ParseInt(row[2], 10, 64)
		if err != nil {
			return nil, sqlError("listing databases", err)
		}
		out = append(out, db{name: row[0], template: row[1] == "t", size: size})
	}
	return out, nil
}

// measure fills in which databases there are, and which one users mean.
func (p *preparation) measure(ctx context.Context, conn *pgconn.PgConn) error {
	databases, err := p.databases(ctx, conn)
	if err != nil {
		return err
	}
	var names []string
	p.result.SizeBytes = 0
	for _, d := range databases {
		p.result.SizeBytes += d.size
		names = append(names, d.name)
	}
	p.result.Database, p.result.Databases = mainDatabase(databases), told(names)
	p.result.CanCount, err = canLoad(ctx, conn, counting)
	return err
}

// canLoad says whether the image has a library.
func canLoad(ctx context.Context, conn *pgconn.PgConn, library string) (bool, error) {
	_, err := query(ctx, conn, 0, "LOAD '"+library+"'")
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return false, nil // it has none, or one that does not fit
	}
	if err != nil {
		return false, sqlError("looking for the library "+library, err)
	}
	return true, nil
}

// mainDatabase is the largest of the users' own; without any, "postgres" or
// whatever there is. Its name is written into files and URLs, so it is none that
// could be more than a name there.
func mainDatabase(databases []db) string {
	databases = slices.DeleteFunc(slices.Clone(databases), func(d db) bool {
		return errs.Plain(d.name) != d.name || strings.ContainsAny(d.name, "\n\t")
	})
	rank := func(d db) int {
		switch {
		case d.template:
			return 0
		case d.name == maintenance:
			return 1
		default:
			return 2
		}
	}
	if len(databases) == 0 {
		return maintenance
	}
	return slices.MaxFunc(databases, func(a, b db) int {
		if by := rank(a) - rank(b); by != 0 {
			return by
		}
		return int(min(1, max(-1, a.size-b.size)))
	}).name
}

// sqlError is an error of a statement of ours.
func sqlError(doing string, err error) error {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		kind := errs.Precondition
		if answer.Code == "53100" { // disk full
			return full(doing, answer)
		}
		return errs.New(kind, "PREPARE_SQL", "%s: %w", doing, answer)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return errs.New(errs.Unavailable, "CANCELLED", "%s: %w", doing, err)
	}
	return errs.New(errs.Internal, "PREPARE_SQL", "%s: %w", doing, err)
}
