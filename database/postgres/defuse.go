package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// stopServer ends the server from within, as pg_ctl does: servers work in their
// data directory, and the first line of the file there is the process to signal.
const stopServer = `COPY (SELECT 1) TO PROGRAM 'kill -INT "$(head -n 1 postmaster.pid)"'`

// stopTimeout bounds how long a connection lasts after it told its server to
// stop; the server itself may take as long as its checkpoint does.
const stopTimeout = 30 * time.Second

// defuse does the third step of a preparation: it starts a server, works on it
// and shuts it down.
func (p *preparation) defuse(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := container.NewLines(nil)
	var failed error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		task := p.task("serve", func(line string) { _, _ = lines.Write([]byte(line + "\n")) }, append([]string{"postgres"}, p.serverArgs()...)...)
		failed = p.rt.Run(ctx, task)
	}()
	target := database.Target{VolumePath: p.req.Volume.Path, Database: "template1", Port: port}
	err := container.Poll(ctx, ended, func(ctx context.Context) error { return New().Ready(ctx, target) },
		func() error {
			return errs.New(errs.Precondition, "PREPARE", "the server ended before it was ready: %w", errors.Join(failed, errEnded))
		})
	if err == nil {
		err = p.work(ctx)
	}
	if err != nil {
		cancel()
	}
	<-ended
	if err != nil {
		e := *errs.As(err)
		if e.Log == nil {
			e.Log = lines.Last()
		}
		return &e
	}
	return failed
}

var errEnded = errors.New("see its log")

// work does all that a server is needed for, and ends with its shutdown.
func (p *preparation) work(ctx context.Context) error {
	conn, err := p.connectAny(ctx)
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
		if err := p.in(ctx, db.name, p.defuseDatabase); err != nil {
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
	for _, sql := range []string{"SELECT pg_switch_wal()", "CHECKPOINT"} {
		if _, err := query(ctx, conn, sql); err != nil {
			return sqlError(sql, err)
		}
	}
	return p.stop(ctx, conn)
}

// stop tells the server to shut down. It ends the session as it does so, before
// or after its answer.
func (p *preparation) stop(ctx context.Context, conn *pgconn.PgConn) error {
	p.report("shutting down", 0, 0)
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	_, err := query(ctx, conn, stopServer)
	var answer *pgconn.PgError
	if errors.As(err, &answer) && answer.Code != adminShutdown || ctx.Err() != nil {
		return sqlError("shutting down", err)
	}
	return nil
}

// adminShutdown is the SQLSTATE with which a server that stops ends sessions.
const adminShutdown = "57P01"

// connectAny connects to a database that every cluster has, unless somebody
// dropped it.
func (p *preparation) connectAny(ctx context.Context) (*pgconn.PgConn, error) {
	conn, err := p.connect(ctx, maintenance)
	var answer *pgconn.PgError
	if errors.As(err, &answer) && answer.Code == "3D000" {
		return p.connect(ctx, "template1")
	}
	return conn, err
}

func (p *preparation) connect(ctx context.Context, db string) (*pgconn.PgConn, error) {
	params := calm()
	if p.req.Facts.Major >= 17 {
		params["event_triggers"] = "off"
	}
	conn, err := connectAdmin(ctx, p.req.Volume.Path, port, db, params)
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
	conn, err := p.connect(ctx, db)
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
	rows, err := query(ctx, conn, sql)
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
	p.result.SizeBytes, p.result.Databases = 0, nil
	for _, d := range databases {
		p.result.SizeBytes += d.size
		p.result.Databases = append(p.result.Databases, d.name)
	}
	p.result.Database = mainDatabase(databases)
	return nil
}

// mainDatabase is the largest of the users' own; without any, "postgres" or
// whatever there is.
func mainDatabase(databases []db) string {
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
