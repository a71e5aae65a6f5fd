package rehearse

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// counters reads pg_stat_statements, which counts for all databases, whichever
// the extension is in. It is read as JSON, because the names of its columns
// depend on the extension's version.
type counters struct {
	// schema has the extension, quoted.
	schema string
	// made says that it was not there before.
	made   bool
	before map[string]counted
}

// counted is what a statement has been counted for since some time.
type counted struct {
	text, datname string
	calls, rows   int64
	wal           int64
	ms            float64
}

// openCounters looks for the extension in the watcher's own database, and makes
// it there if the server counts but nobody has made it. Without it, why says
// what is missing.
func openCounters(ctx context.Context, home *pgx.Conn) (c *counters, why string, err error) {
	var preloaded string
	if err := home.QueryRow(ctx, `SHOW shared_preload_libraries`).Scan(&preloaded); err != nil {
		return nil, "", failed("read the server's settings", err)
	}
	if !slices.ContainsFunc(strings.Split(preloaded, ","), func(lib string) bool {
		return strings.HasSuffix(strings.Trim(lib, ` "`), "pg_stat_statements")
	}) {
		return nil, "pg_stat_statements is not in shared_preload_libraries", nil
	}
	c = &counters{}
	err = c.find(ctx, home)
	if errors.Is(err, pgx.ErrNoRows) {
		if _, err := home.Exec(ctx, `CREATE EXTENSION pg_stat_statements`); err != nil {
			return nil, "the extension pg_stat_statements can't be made: " + err.Error(), nil
		}
		c.made = true
		err = c.find(ctx, home)
	}
	if err == nil {
		c.before, err = c.read(ctx, home)
	}
	if err != nil {
		c.close(ctx, home)
		return nil, "pg_stat_statements can't be read: " + err.Error(), nil
	}
	return c, "", nil
}

func (c *counters) find(ctx context.Context, home *pgx.Conn) error {
	return home.QueryRow(ctx, `SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
		WHERE e.extname = 'pg_stat_statements'`).Scan(&c.schema)
}

func (c *counters) read(ctx context.Context, home *pgx.Conn) (map[string]counted, error) {
	rows, err := home.Query(ctx, `SELECT concat_ws('/', j->>'userid', j->>'dbid', j->>'queryid', j->>'toplevel'),
		coalesce(j->>'query', ''), coalesce(d.datname::text, ''), (j->>'calls')::bigint, (j->>'rows')::bigint,
		coalesce((j->>'wal_bytes')::bigint, 0), coalesce(j->>'total_exec_time', j->>'total_time')::float8
		FROM (SELECT to_jsonb(s) AS j FROM `+c.schema+`.pg_stat_statements s) x
		LEFT JOIN pg_database d ON d.oid = (j->>'dbid')::oid WHERE j->>'queryid' IS NOT NULL`)
	if err != nil {
		return nil, err
	}
	found := map[string]counted{}
	var key string
	var v counted
	_, err = pgx.ForEachRow(rows, []any{&key, &v.text, &v.datname, &v.calls, &v.rows, &v.wal, &v.ms}, func() error {
		found[key] = v
		return nil
	})
	return found, err
}

// top returns the statements that took the most time since it was opened.
func (c *counters) top(ctx context.Context, home *pgx.Conn) ([]Statement, error) {
	after, err := c.read(ctx, home)
	if err != nil {
		return nil, err
	}
	var list []Statement
	for key, a := range after {
		b := c.before[key]
		if a.calls < b.calls {
			// Somebody has reset the counters.
			b = counted{}
		}
		if a.calls == b.calls {
			continue
		}
		list = append(list, Statement{
			Statement: tidy(a.text), Database: a.datname, Calls: a.calls - b.calls, Rows: a.rows - b.rows, WALBytes: a.wal - b.wal,
			Total: Duration{time.Duration((a.ms - b.ms) * float64(time.Millisecond)).Round(time.Microsecond)},
		})
	}
	slices.SortFunc(list, slowest)
	return list[:min(len(list), maxStatements)], nil
}

// close leaves the database without the extension, if it was.
func (c *counters) close(ctx context.Context, home *pgx.Conn) error {
	if !c.made {
		return nil
	}
	_, err := home.Exec(ctx, `DROP EXTENSION IF EXISTS pg_stat_statements`)
	return err
}
