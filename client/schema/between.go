package schema

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stripe/pg-schema-diff/pkg/diff"
	"github.com/stripe/pg-schema-diff/pkg/log"

	"github.com/cloned-db/cloned/errs"
)

// Statement is one step of a plan.
type Statement struct {
	SQL string `json:"sql"`
	// Hazards says, for people, what it may do to those who use the database.
	Hazards []string `json:"hazards,omitempty"`
}

// Between returns the statements that turn the schema of the database at a into
// that of the one at b, as far as they can be made; each is to be run by itself,
// in this order. changes is the Diff of the two, whose servers are of one major
// version (SameMajor). errs.Precondition (NO_PLAN) if none can be made.
func Between(ctx context.Context, a, b *pgx.ConnConfig, changes []Change) ([]Statement, error) {
	from, to := stdlib.OpenDB(*a), stdlib.OpenDB(*b)
	defer from.Close() // closing a connection that only read loses nothing
	defer to.Close()
	plan, err := diff.Generate(ctx, diff.DBSchemaSource(from), diff.DBSchemaSource(to),
		diff.WithDoNotValidatePlan(), // it is tried on a copy, with the data
		diff.WithNoConcurrentIndexOps(), diff.WithLogger(silent{}))
	if err != nil {
		return nil, errs.New(errs.Precondition, "NO_PLAN", "no statements can be made that turn one schema into the other: %w", err)
	}
	constructors, err := constructors(ctx, from, to)
	if err != nil {
		return nil, errs.New(errs.Unavailable, "SCHEMA_UNREADABLE", "asking for constructors: %w", err)
	}
	var out []Statement
	for _, s := range plan.Statements {
		if slices.ContainsFunc(constructors, func(begin string) bool { return strings.HasPrefix(s.DDL, begin) }) {
			continue
		}
		st := Statement{SQL: s.DDL}
		for _, h := range s.Hazards {
			st.Hazards = append(st.Hazards, h.Message)
		}
		out = append(out, st)
	}
	before, after := ours(changes)
	return slices.Concat(before, out, after), nil
}

// constructors returns how the statements begin that make and drop the functions
// which come and go with range types: nobody else may make or drop them.
func constructors(ctx context.Context, dbs ...*sql.DB) (begin []string, err error) {
	for _, db := range dbs {
		rows, err := db.QueryContext(ctx, `SELECT format('CREATE OR REPLACE FUNCTION %I.%I(', nspname, proname), format('DROP FUNCTION "%s"."%s"(', nspname, proname)
			FROM pg_catalog.pg_proc x JOIN pg_catalog.pg_namespace n ON n.oid = pronamespace WHERE prosrc ~ '^(multi)?range_constructor' AND x.oid >= 16384`)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		for rows.Next() {
			var create, drop string
			if err := rows.Scan(&create, &drop); err != nil {
				return nil, err
			}
			begin = append(begin, create, drop)
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
	}
	return begin, nil
}

// silent is a logger for a library whose log is of no use to users.
type silent struct{}

var _ log.Logger = silent{}

func (silent) Errorf(string, ...any) {}
func (silent) Warnf(string, ...any)  {}
func (silent) Infof(string, ...any)  {}

// own says how statements are made of the kinds that the library does not know:
// those whose definition is the statement, and when they come: types before the
// tables that use them, the rest after what they are on.
var own = map[string]struct {
	early       bool // is created before the library's statements, and dropped after
	replaceable bool // may be dropped and created again
	drop        string
}{
	"domain":         {early: true, drop: "DROP DOMAIN %s"},
	"composite type": {early: true, drop: "DROP TYPE %s"},
	"range type":     {early: true, drop: "DROP TYPE %s"},
	"statistics":     {replaceable: true, drop: "DROP STATISTICS %s"},
	"rule":           {replaceable: true, drop: "DROP RULE %s"},
	"comment":        {replaceable: true, drop: "COMMENT %s IS NULL"},
}

// ours makes the statements for those kinds.
func ours(changes []Change) (before, after []Statement) {
	for _, c := range changes {
		how, ok := own[c.Kind]
		if !ok || c.Action == Changed && !how.replaceable {
			continue
		}
		create, drop := Statement{SQL: c.To}, Statement{SQL: fmt.Sprintf(how.drop, dropName(c))}
		if c.Kind == "comment" {
			create.SQL = fmt.Sprintf("COMMENT %s IS %s", commentOn(c.Name), literal(c.To))
			drop.SQL = fmt.Sprintf(how.drop, commentOn(c.Name))
		}
		switch {
		case c.Action == Added && how.early:
			before = append(before, create)
		case c.Action == Removed && !how.early && c.Kind != "comment":
			before = append(before, drop)
		case c.Action == Removed:
			after = append(after, drop)
		case c.Action == Changed && c.Kind != "comment":
			before, after = append(before, drop), append(after, create)
		default:
			after = append(after, create)
		}
	}
	return before, after
}

// dropName is what a DROP names: for a rule, that and its table.
func dropName(c Change) string {
	if c.Kind != "rule" {
		return c.Name
	}
	return strings.TrimPrefix(c.Name, c.parent+".") + " ON " + c.parent
}

// commentOn turns the identity of an object (pg_identify_object) into what
// COMMENT calls it: the catalogs say "table column", and "c on t" for what is on
// a table.
func commentOn(name string) string {
	for theirs, sql := range map[string]string{"ON table column ": "ON COLUMN ", "ON view column ": "ON COLUMN ", "ON table constraint ": "ON CONSTRAINT ", "ON composite type ": "ON TYPE "} {
		if rest, ok := strings.CutPrefix(name, theirs); ok {
			return sql + rest
		}
	}
	return name
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Apply runs a plan. It stops at the first statement that fails, and returns how
// many succeeded; the error is errs.Conflict (STATEMENT_FAILED).
func Apply(ctx context.Context, conn *pgx.Conn, plan []Statement) (int, error) {
	for i, s := range plan {
		if err := run(ctx, conn, s); err != nil {
			return i, err
		}
	}
	return len(plan), nil
}

func run(ctx context.Context, conn *pgx.Conn, s Statement) error {
	// Not by a prepared statement: DDL can't be one.
	if _, err := conn.PgConn().Exec(ctx, s.SQL).ReadAll(); err != nil {
		return errs.New(errs.Conflict, "STATEMENT_FAILED", "%s: %w", s.SQL, err)
	}
	return nil
}
