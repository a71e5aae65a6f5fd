package postgres

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// vacuumQuery writes a statement for each table, with its size in bytes; tables
// that others are stored with are vacuumed with those.
const vacuumQuery = `SELECT format('VACUUM (FREEZE, ANALYZE) %I.%I', nspname, relname), pg_total_relation_size(c.oid)
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
			tables, err := query(ctx, conn, vacuumQuery)
			if err != nil {
				return sqlError("listing tables", err)
			}
			for _, t := range tables {
				p.report("vacuum of "+d.name, done, total)
				if _, err := query(ctx, conn, t[0]); err != nil {
					return sqlError(t[0], err)
				}
				size, err := strconv.ParseInt(t[1], 10, 64)
				if err != nil {
					return fmt.Errorf("size of a table: %w", err)
				}
				done = min(done+size, total)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	p.report("vacuum", total, total)
	return nil
}
