package postgres

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// What is taken away is found by queries that write the statements for it: each
// row is a statement and, for people, what it takes away. Names are quoted by
// the server's own format(), found in pg_catalog and nowhere else.

// perDatabase are run in each database.
var perDatabase = []string{
	// Connection first: dropping a subscription whose tables are still being
	// copied looks for their slots on the publisher. (With a password, for an
	// owner who is no superuser must have one.)
	`SELECT format('ALTER SUBSCRIPTION %1$I DISABLE; ALTER SUBSCRIPTION %1$I CONNECTION ''host=/nowhere password=none''; ALTER SUBSCRIPTION %1$I SET (slot_name = NONE); DROP SUBSCRIPTION %1$I', subname),
		format('subscription %I in %I', subname, current_database())
	FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())`,

	// What fires at each login could run anything, or keep us out.
	`SELECT format('ALTER EVENT TRIGGER %I DISABLE', evtname),
		format('event trigger %I on login in %I', evtname, current_database())
	FROM pg_event_trigger WHERE evtevent = 'login' AND evtenabled <> 'D'`,

	// A mapping holds a login at another server, often with its password.
	`SELECT format('DROP USER MAPPING FOR %s SERVER %I', who, srvname),
		format('login of %s at server %I in %I', who, srvname, current_database())
	FROM pg_user_mappings, LATERAL (SELECT CASE WHEN umuser = 0 THEN 'PUBLIC' ELSE quote_ident(usename) END AS who) AS w`,
}

// jobTables are where schedulers keep their jobs, and the column that says
// whether a job runs.
var jobTables = []struct{ table, column string }{
	{"cron.job", "active"},
	{"pgagent.pga_job", "jobenabled"},
	{"timetable.chain", "live"},
	{"_timescaledb_config.bgw_job", "scheduled"},
}

// perCluster are run once.
var perCluster = []string{
	// Settings of roles and databases stand above the command line: those that
	// load libraries go.
	`SELECT CASE WHEN setrole = 0 AND setdatabase = 0 THEN format('ALTER ROLE ALL RESET %I', name)
			WHEN setrole = 0 THEN format('ALTER DATABASE %I RESET %I', datname, name)
			WHEN setdatabase = 0 THEN format('ALTER ROLE %I RESET %I', rolname, name)
			ELSE format('ALTER ROLE %I IN DATABASE %I RESET %I', rolname, datname, name) END,
		concat_ws(' ', 'setting', name, 'of', CASE WHEN setrole <> 0 THEN format('role %I', rolname) WHEN setdatabase = 0 THEN 'all roles' END,
			CASE WHEN setrole <> 0 AND setdatabase <> 0 THEN 'in' END, CASE WHEN setdatabase <> 0 THEN format('database %I', datname) END)
	FROM pg_db_role_setting AS s
		CROSS JOIN LATERAL (SELECT split_part(unnest(setconfig), '=', 1) AS name) AS n
		LEFT JOIN pg_database AS d ON d.oid = setdatabase
		LEFT JOIN pg_authid AS r ON r.oid = setrole
	WHERE name IN ('session_preload_libraries', 'local_preload_libraries', 'dynamic_library_path',
		'extension_control_path', 'cloned.instance_id')`,
}

// passwords takes away all that roles log in with.
const passwords = `SELECT format('ALTER ROLE %I PASSWORD NULL', rolname), '' FROM pg_authid WHERE rolpassword IS NOT NULL`

// rewrite writes tables anew that held secrets: what was deleted is otherwise
// still to be found in their pages.
const rewrite = `VACUUM (FULL) pg_authid, pg_subscription, pg_db_role_setting`

// What fires in our sessions too, by the will of its owner, is off while we work:
// each row is a statement that turns something off, and one that turns it on.
const (
	// eventTriggers can be turned off by a setting since version 17.
	eventTriggers = `SELECT format('ALTER EVENT TRIGGER %I DISABLE', evtname),
		format('ALTER EVENT TRIGGER %I ENABLE %s', evtname, CASE evtenabled WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END)
	FROM pg_event_trigger WHERE evtenabled IN ('A', 'R')`

	// tableTriggers takes the name of a table.
	tableTriggers = `SELECT format('ALTER TABLE %%s DISABLE %%s %%I', '%[1]s'::regclass, kind, name),
		format('ALTER TABLE %%s ENABLE %%s %%s %%I', '%[1]s'::regclass, CASE enabled WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END, kind, name)
	FROM (SELECT 'TRIGGER', tgname, tgenabled FROM pg_trigger WHERE tgrelid = '%[1]s'::regclass AND NOT tgisinternal
		UNION ALL SELECT 'RULE', rulename, ev_enabled FROM pg_rewrite WHERE ev_class = '%[1]s'::regclass) AS t (kind, name, enabled)
	WHERE enabled IN ('A', 'R')`
)

// without does something while what the query finds is off. (If it fails, so does
// the preparation, and the volume goes.)
func (p *preparation) without(ctx context.Context, conn *pgconn.PgConn, find string, do func() error) error {
	found, err := query(ctx, conn, 2, find)
	if err != nil {
		return sqlError("looking for triggers", err)
	}
	turn := func(column int) error {
		for _, row := range found {
			if _, err := query(ctx, conn, 0, row[column]); err != nil {
				return sqlError(row[column], err)
			}
		}
		return nil
	}
	if err := turn(0); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return turn(1)
}

// defuseDatabase takes away what could do harm in one database.
func (p *preparation) defuseDatabase(ctx context.Context, conn *pgconn.PgConn) error {
	if p.req.Facts.Major >= 17 {
		return p.takeAway(ctx, conn)
	}
	return p.without(ctx, conn, eventTriggers, func() error { return p.takeAway(ctx, conn) })
}

func (p *preparation) takeAway(ctx context.Context, conn *pgconn.PgConn) error {
	for _, find := range perDatabase {
		if _, err := p.each(ctx, conn, find); err != nil {
			return err
		}
	}
	for _, job := range jobTables {
		if err := p.stopJobs(ctx, conn, job.table, job.column); err != nil {
			return err
		}
	}
	_, err := query(ctx, conn, 0, "VACUUM (FULL) pg_user_mapping")
	if err != nil {
		return sqlError("rewriting pg_user_mapping", err)
	}
	return nil
}

// stopJobs stops the jobs in a table, if it is there and is the scheduler's.
func (p *preparation) stopJobs(ctx context.Context, conn *pgconn.PgConn, table, column string) error {
	rows, err := query(ctx, conn, 1, fmt.Sprintf(`SELECT 1 FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
		WHERE attrelid = to_regclass('%s') AND relkind IN ('r', 'p') AND attname = '%s' AND atttypid = 'bool'::regtype`, table, column))
	if err != nil {
		return sqlError("looking for "+table, err)
	}
	if len(rows) == 0 {
		return nil
	}
	return p.without(ctx, conn, fmt.Sprintf(tableTriggers, table), func() error {
		stopped, err := query(ctx, conn, 1, fmt.Sprintf("UPDATE %s SET %s = false WHERE %[2]s RETURNING 1", table, column))
		if err != nil {
			return sqlError("stopping the jobs in "+table, err)
		}
		if len(stopped) > 0 {
			p.defused(strconv.Itoa(len(stopped)) + " jobs in " + table)
		}
		return nil
	})
}

// defuseCluster takes away what could do harm in all of them.
func (p *preparation) defuseCluster(ctx context.Context, conn *pgconn.PgConn) error {
	for _, find := range perCluster {
		if _, err := p.each(ctx, conn, find); err != nil {
			return err
		}
	}
	n, err := p.each(ctx, conn, passwords)
	if err != nil {
		return err
	}
	if n > 0 {
		p.defused("passwords of " + strconv.Itoa(n) + " roles")
	}
	if _, err := query(ctx, conn, 0, rewrite); err != nil {
		return sqlError("rewriting the tables of roles", err)
	}
	return nil
}

// rollBackPrepared rolls back what was prepared to be committed by another
// transaction manager than the clone has.
func (p *preparation) rollBackPrepared(ctx context.Context, conn *pgconn.PgConn) error {
	rows, err := query(ctx, conn, 1, "SELECT DISTINCT database FROM pg_prepared_xacts")
	if err != nil {
		return sqlError("listing prepared transactions", err)
	}
	const find = `SELECT format('ROLLBACK PREPARED %L', gid), format('prepared transaction %L in %I', gid, database)
		FROM pg_prepared_xacts WHERE database = current_database()`
	for _, row := range rows {
		err := p.in(ctx, row[0], func(ctx context.Context, conn *pgconn.PgConn) error {
			_, err := p.each(ctx, conn, find)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// each runs the statements that a query writes, one after the other, and notes
// what they take away.
func (p *preparation) each(ctx context.Context, conn *pgconn.PgConn, find string) (int, error) {
	rows, err := query(ctx, conn, 2, find)
	if err != nil {
		return 0, sqlError("looking for what to take away", err)
	}
	for _, row := range rows {
		if _, err := query(ctx, conn, 0, row[0]); err != nil {
			return 0, sqlError(row[0], err)
		}
		if row[1] != "" {
			p.defused(row[1])
		}
	}
	return len(rows), nil
}
