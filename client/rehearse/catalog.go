package rehearse

import (
	"cmp"
	"context"
	"fmt"
	"maps"

	"github.com/jackc/pgx/v5"
)

// relation is what the catalogs say of one relation.
type relation struct {
	name, kind string
	filenode   uint32
	// private means that nobody takes a lock on it without one on another
	// relation or in another session: TOAST and temporary tables.
	private bool
	// bytes is the size of its files with TOAST; total also has the indexes.
	bytes, total int64
}

// database is what the catalogs say of one database.
type database struct {
	name string
	rels map[uint32]relation
	// sized is false if the sizes could not be read.
	sized bool
}

// catalog is the databases by OID.
type catalog map[uint32]*database

// kinds names what pg_class.relkind can be.
var kinds = map[string]string{
	"r": "table", "p": "partitioned table", "i": "index", "I": "partitioned index", "m": "materialized view",
	"v": "view", "S": "sequence", "f": "foreign table", "t": "TOAST table", "c": "type",
}

// readCatalog reads all databases that can be connected to, with a short
// session in each. What could not be read is in the notes.
func (s *server) readCatalog(ctx context.Context, home *pgx.Conn) (catalog, []string, error) {
	// Negative connection limits other than -1 mark a database whose DROP was
	// interrupted.
	rows, err := home.Query(ctx, `SELECT oid, datname::text FROM pg_database WHERE datallowconn AND datconnlimit >= -1 ORDER BY datname`)
	if err != nil {
		return nil, nil, failed("list the databases", err)
	}
	found := catalog{}
	var oids []uint32
	var oid uint32
	var name string
	if _, err := pgx.ForEachRow(rows, []any{&oid, &name}, func() error {
		found[oid] = &database{name: name}
		oids = append(oids, oid)
		return nil
	}); err != nil {
		return nil, nil, failed("list the databases", err)
	}
	var notes []string
	for _, oid := range oids {
		db := found[oid]
		err := s.in(ctx, db.name, func(conn *pgx.Conn) error { return db.read(ctx, conn) })
		switch {
		case noDatabase(err):
			// Dropped since it was listed.
			delete(found, oid)
		case err != nil:
			return nil, nil, failed(fmt.Sprintf("read the catalogs of database %q", db.name), err)
		case !db.sized:
			notes = append(notes, fmt.Sprintf("database %s: the sizes of its tables are unknown, because one was locked", db.name))
		}
	}
	return found, notes, nil
}

// relationsSQL reads the relations of a database. 16384 is the first OID that
// initdb leaves to users: what is below is a system catalog (FirstNormalObjectId
// in PostgreSQL's access/transam.h).
const relationsSQL = `SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind::text,
	pg_relation_filenode(c.oid), c.relpersistence = 't' OR n.nspname = 'pg_toast', %s
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid >= 16384`

const (
	withSizes    = "pg_table_size(c.oid), pg_total_relation_size(c.oid)"
	withoutSizes = "NULL::bigint, NULL::bigint"
)

// read fills in the relations. Sizes take a lock on each: if a session holds one
// that conflicts, they are left out.
func (db *database) read(ctx context.Context, conn *pgx.Conn) error {
	err := db.query(ctx, conn, fmt.Sprintf(relationsSQL, withSizes))
	db.sized = err == nil
	if lockTimeout(err) {
		return db.query(ctx, conn, fmt.Sprintf(relationsSQL, withoutSizes))
	}
	return err
}

// names reads some relations, without taking locks on them.
func (db *database) names(ctx context.Context, conn *pgx.Conn, oids []uint32) error {
	return db.query(ctx, conn, fmt.Sprintf(relationsSQL, withoutSizes)+" AND c.oid = ANY ($1)", oids)
}

func (db *database) query(ctx context.Context, conn *pgx.Conn, sql string, args ...any) error {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	db.rels = map[uint32]relation{}
	var oid uint32
	var name, kind string
	var filenode *uint32
	var private bool
	var bytes, total *int64
	_, err = pgx.ForEachRow(rows, []any{&oid, &name, &kind, &filenode, &private, &bytes, &total}, func() error {
		// Views have no file; a relation that is dropped meanwhile no size.
		db.rels[oid] = relation{
			name: name, kind: cmp.Or(kinds[kind], kind), private: private,
			filenode: orZero(filenode), bytes: orZero(bytes), total: orZero(total),
		}
		return nil
	})
	return err
}

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// totals are the figures of the whole server.
type totals struct{ wal, size int64 }

func readTotals(ctx context.Context, home *pgx.Conn) (t totals, err error) {
	err = home.QueryRow(ctx, `SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint,
		(SELECT coalesce(sum(pg_database_size(oid)), 0)::bigint FROM pg_database)`).Scan(&t.wal, &t.size)
	if err != nil {
		return t, failed("read the databases' sizes", err)
	}
	return t, nil
}

// clone makes a copy that can be added to.
func (c catalog) clone() catalog {
	out := catalog{}
	for oid, db := range c {
		out[oid] = &database{name: db.name, rels: maps.Clone(db.rels), sized: db.sized}
	}
	return out
}
