package postgres

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// vacuumQuery writes a statement for each table, with its size in bytes. Without
// INDEX_CLEANUP pages with few dead rows would stay as they are. TOAST tables
// are vacuumed with those that they belong to.
const vacuumQuery = `SELECT format('VACUUM (FREEZE, ANALYZE, INDEX_CLEANUP ON) %I.%I', nspname, relname), pg_total_relation_size(c.oid)
	FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
	WHERE relkind IN ('r', 'm') AND relpersistence <> 't'
	ORDER BY c.oid`

// vacuum vacuums and freezes every table of every database, so that clones that
// merely read do not write: the first reader of a row notes in it that its
// transaction has ended, and so copies the page.
func (p *preparation) vacuum(ctx context.Context, databases []db) error {
	var total, done int64
	for _, d := range databases {
		total += d.size
	}
	for _, d := range databases {
		err := p.in(ctx, d.name, func(ctx context.Context, conn *pgconn.PgConn) error {
			size, err := p.vacuumTables(ctx, conn, "vacuum of "+d.name, done, total)
			done += size
			return err
		})
		if err != nil {
			return err
		}
	}
	p.report("vacuum", total, total)
	return nil
}

// vacuumTables vacuums the tables of a database and returns their size in bytes.
func (p *preparation) vacuumTables(ctx context.Context, conn *pgconn.PgConn, message string, before, total int64) (int64, error) {
	tables, err := query(ctx, conn, 2, vacuumQuery)
	if err != nil {
		return 0, sqlError("listing tables", err)
	}
	done, reported := int64(0), int64(-progressStep)
	for _, t := range tables {
		size, err := strconv.ParseInt(t[1], 10, 64)
		if err != nil {
			return done, sqlError("listing tables", err)
		}
		if done+size-reported >= progressStep {
			reported = done
			p.report(message, min(before+done, total), total)
		}
		if _, err := query(ctx, conn, 0, t[0]); err != nil {
			return done, sqlError(t[0], err)
		}
		done += size
	}
	return done, nil
}
