package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/test/harness"
)

// base is what all databases of the tests have: something of each kind.
const base = `
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'ok');
CREATE DOMAIN app.email AS text CHECK (VALUE ~ '@');
CREATE TYPE app.point3 AS (x int, y int, z int);
CREATE TABLE app.customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mail app.email NOT NULL, mood app.mood DEFAULT 'ok');
CREATE TABLE app.orders (id bigserial PRIMARY KEY, customer bigint REFERENCES app.customers, amount numeric(10,2) CHECK (amount > 0), note text);
CREATE INDEX orders_customer ON app.orders (customer);
CREATE TABLE app.events (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE app.events_2026 PARTITION OF app.events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE VIEW app.totals AS SELECT customer, sum(amount) AS total FROM app.orders GROUP BY customer;
CREATE MATERIALIZED VIEW app.cached AS SELECT count(*) AS n FROM app.orders;
CREATE FUNCTION app.double(int) RETURNS int LANGUAGE sql AS 'SELECT 2 * $1';
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN new; END$$;
CREATE TRIGGER touch BEFORE UPDATE ON app.orders FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE SEQUENCE app.numbers START 7;
COMMENT ON TABLE app.orders IS 'what was bought';
INSERT INTO app.customers (mail) SELECT i || '@x' FROM generate_series(1, 5) i;
INSERT INTO app.orders (customer, amount) SELECT i, i FROM generate_series(1, 5) i;
`

// changes are what a team does to its schema. without names what the plan can't
// do, and says so by leaving the difference; back is that of the way back, if it
// is another.
var changes = map[string]struct{ sql, without, back string }{
	"schema":            {sql: `CREATE SCHEMA other`},
	"table":             {sql: `CREATE TABLE app.items (id int PRIMARY KEY, name text NOT NULL DEFAULT 'x', of bigint REFERENCES app.orders)`},
	"drop table":        {sql: `DROP TABLE app.events`},
	"column":            {sql: `ALTER TABLE app.orders ADD COLUMN shipped timestamptz`},
	"column default":    {sql: `ALTER TABLE app.orders ALTER note SET DEFAULT 'none'`},
	"column type":       {sql: `DROP VIEW app.totals; ALTER TABLE app.orders ALTER amount TYPE numeric(12,2); CREATE VIEW app.totals AS SELECT customer, sum(amount) AS total FROM app.orders GROUP BY customer`, without: "column app.orders.amount"},
	"not null":          {sql: `ALTER TABLE app.orders ALTER customer SET NOT NULL`},
	"drop column":       {sql: `ALTER TABLE app.orders DROP note`},
	"check":             {sql: `ALTER TABLE app.orders ADD CONSTRAINT small CHECK (amount < 1000)`},
	"foreign key":       {sql: `ALTER TABLE app.orders DROP CONSTRAINT orders_customer_fkey`},
	"unique":            {sql: `ALTER TABLE app.customers ADD UNIQUE (mail)`},
	"index":             {sql: `CREATE INDEX orders_note ON app.orders (lower(note)) WHERE note IS NOT NULL`},
	"drop index":        {sql: `DROP INDEX app.orders_customer`},
	"enum value":        {sql: `ALTER TYPE app.mood ADD VALUE 'happy'`, back: "enum app.mood"},
	"enum":              {sql: `CREATE TYPE app.size AS ENUM ('s', 'l'); ALTER TABLE app.orders ADD size app.size`},
	"view":              {sql: `CREATE VIEW app.big AS SELECT * FROM app.orders WHERE amount > 100`},
	"view changed":      {sql: `CREATE OR REPLACE VIEW app.totals AS SELECT customer, sum(amount) AS total, count(*) AS n FROM app.orders GROUP BY customer`},
	"materialized view": {sql: `DROP MATERIALIZED VIEW app.cached; CREATE MATERIALIZED VIEW app.cached AS SELECT count(*) AS n, 1 AS one FROM app.orders`},
	"function":          {sql: `CREATE OR REPLACE FUNCTION app.double(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + $1'`},
	"procedure":         {sql: `CREATE PROCEDURE app.clean() LANGUAGE sql AS 'DELETE FROM app.events'`},
	"trigger":           {sql: `CREATE TRIGGER again BEFORE INSERT ON app.orders FOR EACH ROW EXECUTE FUNCTION app.touch()`},
	"drop trigger":      {sql: `DROP TRIGGER touch ON app.orders`},
	"sequence":          {sql: `CREATE SEQUENCE app.more INCREMENT 5`},
	"partition":         {sql: `CREATE TABLE app.events_2027 PARTITION OF app.events FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')`, back: noPlan},
	"policy":            {sql: `ALTER TABLE app.orders ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON app.orders USING (customer = 1)`},
	"extension":         {sql: `CREATE EXTENSION pg_stat_statements SCHEMA app`},
	"domain":            {sql: `CREATE DOMAIN app.positive AS int CHECK (VALUE > 0); CREATE TABLE app.counted (n app.positive)`},
	"drop domain":       {sql: `ALTER TABLE app.customers ALTER mail TYPE text; DROP DOMAIN app.email`},
	"domain changed":    {sql: `ALTER DOMAIN app.email SET DEFAULT 'x@y'`, without: "domain app.email"},
	"composite type":    {sql: `CREATE TYPE app.pair AS (a int, b text)`},
	"composite changed": {sql: `ALTER TYPE app.point3 ADD ATTRIBUTE t int`, without: "composite type app.point3"},
	"range type":        {sql: `CREATE TYPE app.span AS RANGE (SUBTYPE = time)`},
	"statistics":        {sql: `CREATE STATISTICS app.stat ON customer, amount FROM app.orders`},
	"rule":              {sql: `CREATE RULE quiet AS ON DELETE TO app.customers DO INSTEAD NOTHING`},
	"comment":           {sql: `COMMENT ON COLUMN app.orders.amount IS 'it''s euros'`},
	"comment gone":      {sql: `COMMENT ON TABLE app.orders IS NULL`},
	"aggregate":         {sql: `CREATE AGGREGATE app.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0')`, without: "aggregate app.total(integer)"},
	"privilege":         {sql: `GRANT SELECT ON app.orders TO reader`},
	"revoked":           {sql: `REVOKE EXECUTE ON FUNCTION app.double(int) FROM public`, without: "privilege ON function app.double(integer)"},
	"language":          {sql: `REVOKE USAGE ON LANGUAGE sql FROM public`, without: "privilege ON language sql"},
	"wrapper":           {sql: `CREATE FOREIGN DATA WRAPPER w; GRANT USAGE ON FOREIGN DATA WRAPPER w TO reader`, without: "privilege ON foreign-data wrapper w; foreign data wrapper w"},
	"server":            {sql: `CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; GRANT USAGE ON FOREIGN SERVER s TO reader`, without: "privilege ON server s; server s; foreign data wrapper w"},
	"database setting":  {sql: `DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''7MB''', current_database()); END$$`, without: "setting of the database"},
	"role setting":      {sql: `DO $$BEGIN EXECUTE format('ALTER ROLE reader IN DATABASE %I SET work_mem = ''7MB''', current_database()); END$$`, without: "setting of reader in the database"},
	"view default":      {sql: `ALTER VIEW app.totals ALTER total SET DEFAULT 5`, without: "default of view column app.totals.total"},
	"rule disabled":     {sql: `CREATE RULE quiet AS ON DELETE TO app.customers DO INSTEAD NOTHING; ALTER TABLE app.customers DISABLE RULE quiet`, without: "state of rule app.customers.quiet"},
	"event trigger":     {sql: `CREATE FUNCTION app.hm() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER hm ON ddl_command_end EXECUTE FUNCTION app.hm()`, without: "event trigger hm", back: "event trigger hm; function app.hm()"},
	"collation":         {sql: `CREATE COLLATION app.german (LOCALE = 'C')`, without: "collation app.german"},
	"odd names":         {sql: `CREATE TABLE app."O'dd ""näme"" ;" ("a column" int PRIMARY KEY); CREATE INDEX "i-x" ON app."O'dd ""näme"" ;" ("a column")`},
}

// TestBetween: the plan, run on one database, leaves nothing different from the
// other but what it is known to leave, in both directions.
func TestBetween(t *testing.T) {
	r := newRig(t)
	if diff := Diff(read(t, r.database(t, base)), read(t, r.database(t, base))); len(diff) > 0 {
		t.Fatalf("two that are alike differ: %v", diff)
	}
	for what, change := range changes {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			tryBetween(t, r.database(t, base), r.database(t, base, change.sql), change.without)
			tryBetween(t, r.database(t, base, change.sql), r.database(t, base), cmp.Or(change.back, change.without))
		})
	}
}

// noPlan says that no statements can be made at all.
const noPlan = "no plan"

// tryBetween runs the plan from a to b on a. without are the objects, with "; "
// between them, that it may leave, of which the first has to be seen before.
func tryBetween(t *testing.T, a, b *pgx.Conn, without string) {
	t.Helper()
	allowed := strings.Split(without, "; ")
	wanted := Diff(read(t, a), read(t, b))
	if len(wanted) == 0 {
		t.Fatal("no difference is seen")
	}
	if without != "" && without != noPlan && !slices.ContainsFunc(wanted, func(c Change) bool { return c.Key.String() == allowed[0] }) {
		t.Errorf("%s is not seen: %v", allowed[0], wanted)
	}
	plan, err := Between(t.Context(), a.Config(), b.Config(), wanted)
	if without == noPlan && errs.As(err).Reason == "NO_PLAN" {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Apply(t.Context(), a, plan); err != nil && without == "" {
		t.Fatal(err)
	}
	for _, c := range Diff(read(t, a), read(t, b)) {
		if !slices.Contains(allowed, c.Key.String()) {
			t.Errorf("left: %v\nplan: %v", c, plan)
		}
	}
}

func TestSameMajor(t *testing.T) {
	r := newRig(t)
	one := r.database(t)
	other, err := pgx.Connect(t.Context(), harness.OfMajor(t, one.Config().ConnString(), 99))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(t.Context())
	if err := SameMajor(one, r.database(t)); err != nil {
		t.Error(err)
	}
	if err := SameMajor(one, other); errs.As(err).Reason != "MAJOR_DIFFERS" || !strings.HasSuffix(err.Error(), "and 99") {
		t.Error(err)
	}
}

// TestNotCompared: what is compared by its presence only is said to be.
func TestNotCompared(t *testing.T) {
	r := newRig(t)
	s := read(t, r.database(t, base, `CREATE COLLATION app.german (LOCALE = 'C'); CREATE TEXT SEARCH DICTIONARY app.d (TEMPLATE = simple)`))
	text := strings.Join(s.NotCompared, "\n")
	for _, want := range []string{"owners", "large objects", "settings", "parameters", "definitions of collations", "definitions of text search dictionarys", "what sequences stand at"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not said:\n%s", want, text)
		}
	}
	if strings.Contains(text, "casts") {
		t.Errorf("there are no casts:\n%s", text)
	}
}

func TestDiffData(t *testing.T) {
	r := newRig(t)
	const tables = `
CREATE TABLE ints (id int PRIMARY KEY, v text);
INSERT INTO ints SELECT i, 'v' || i FROM generate_series(-50, 1200) i;
CREATE TABLE texts (k text, n int, v int, PRIMARY KEY (k, n));
INSERT INTO texts SELECT k, n, 0 FROM unnest(ARRAY['a', 'B', 'ä', '"', E'\\', 'a b', '', '10', '9', E'\t']) k, generate_series(1, 12) n;
CREATE TABLE ids (id uuid PRIMARY KEY DEFAULT gen_random_uuid());
CREATE TABLE keyless (v int);
CREATE TABLE other (id int PRIMARY KEY, v int);
CREATE TABLE same (id int PRIMARY KEY); INSERT INTO same SELECT generate_series(1, 10)`
	a := r.database(t, tables)
	b := r.database(t, tables, `
DELETE FROM ints WHERE id IN (-3, 5, 1200); UPDATE ints SET v = 'x' WHERE id IN (7, 8); UPDATE ints SET v = NULL WHERE id = 9;
INSERT INTO ints VALUES (5000, ''), (-5000, ''), (9999, ''), (10000, '');
UPDATE texts SET v = 1 WHERE k = '"'; DELETE FROM texts WHERE k = 'ä' AND n = 12; INSERT INTO texts VALUES ('Ä', 1, 1);
INSERT INTO ids DEFAULT VALUES; ALTER TABLE other ADD w int; CREATE TABLE only_b (id int PRIMARY KEY)`)
	got, err := DiffData(t.Context(), a, b, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []TableData{
		{Table: "public.ids", Added: 1, Read: true},
		{Table: "public.ints", Added: 4, Changed: 3, Removed: 3, Read: true},
		{Table: "public.keyless", Note: "has no primary key"},
		{Table: "public.only_b", Note: "is only on the other side"},
		{Table: "public.other", Note: "has other columns or another key on the other side"},
		{Table: "public.same", Read: true},
		{Table: "public.texts", Added: 1, Changed: 12, Removed: 1, Read: true},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	one, err := DiffData(t.Context(), b, a, []string{"public.ints"}, nil)
	if err != nil || len(one) != 1 || one[0] != (TableData{Table: "public.ints", Added: 3, Changed: 3, Removed: 4, Read: true}) {
		t.Errorf("backwards: %+v, %v", one, err)
	}
}

// TestMerge compares both sides with their base, and proves by trying that what
// is left to do gives the same in either order, or is a conflict.
func TestMerge(t *testing.T) {
	r := newRig(t)
	for what, test := range map[string]struct {
		ours, theirs string
		conflicts    []string
	}{
		"apart":                  {`ALTER TABLE app.orders ADD a int`, `CREATE INDEX i ON app.orders (note); CREATE TABLE app.t (id int)`, nil},
		"the same column":        {`ALTER TABLE app.orders ADD a int; CREATE TABLE app.mine ()`, `ALTER TABLE app.orders ADD a int; CREATE TABLE app.theirs ()`, nil},
		"the same table":         {`CREATE TABLE app.t (id int PRIMARY KEY, v text)`, `CREATE TABLE app.t (id int PRIMARY KEY, v text); CREATE INDEX t_v ON app.orders (note)`, nil},
		"one side only":          {``, `ALTER TABLE app.orders DROP note, ADD b int NOT NULL DEFAULT 5`, nil},
		"the same function":      {`CREATE OR REPLACE FUNCTION app.double(int) RETURNS int LANGUAGE sql AS 'SELECT $1+$1'`, `CREATE OR REPLACE FUNCTION app.double(int) RETURNS int LANGUAGE sql AS 'SELECT $1+$1'`, nil},
		"two column types":       {`ALTER TABLE app.orders ADD a int`, `ALTER TABLE app.orders ADD a bigint`, []string{"column app.orders.a"}},
		"two function bodies":    {`CREATE OR REPLACE FUNCTION app.double(int) RETURNS int LANGUAGE sql AS 'SELECT 2'`, `CREATE OR REPLACE FUNCTION app.double(int) RETURNS int LANGUAGE sql AS 'SELECT 3'`, []string{"function app.double(integer)"}},
		"a column of a drop":     {`DROP TABLE app.events`, `ALTER TABLE app.events ADD x int`, []string{"column app.events.x", "column app.events_2026.x"}},
		"a drop of a column":     {`ALTER TABLE app.orders ADD x int`, `DROP VIEW app.totals; DROP MATERIALIZED VIEW app.cached; DROP TABLE app.orders`, []string{"column app.orders.x"}},
		"two tables of one name": {`CREATE TABLE app.t (id int)`, `CREATE TABLE app.t (id int, v text)`, []string{"column app.t.v"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			from, ours, theirs := r.database(t, base), r.database(t, base, test.ours), r.database(t, base, test.theirs)
			m := Compare3(read(t, from), read(t, ours), read(t, theirs))
			var names []string
			for _, c := range m.Conflicts {
				names = append(names, c.Key.String())
			}
			if !slices.Equal(names, test.conflicts) {
				t.Fatalf("conflicts %q, want %q", names, test.conflicts)
			}
			if len(names) > 0 {
				return
			}
			var wanted []Schema
			for _, side := range []struct{ theirs, ours string }{{test.theirs, test.ours}, {test.ours, test.theirs}} {
				from, onto := r.database(t, base, side.theirs), r.database(t, base, side.ours)
				start := r.database(t, base)
				changes := Diff(read(t, start), read(t, from))
				plan, err := Between(t.Context(), start.Config(), from.Config(), changes)
				if err != nil {
					t.Fatal(err)
				}
				if plan, err = Remaining(t.Context(), r.database(t, base), plan, read(t, from), m.Same); err != nil {
					t.Fatal(err)
				}
				if n, err := Apply(t.Context(), onto, plan); err != nil {
					t.Fatalf("statement %d of %v: %v", n, plan, err)
				}
				wanted = append(wanted, read(t, onto))
			}
			if diff := Diff(wanted[0], wanted[1]); len(diff) > 0 {
				t.Errorf("in the other order it differs: %v", diff)
			}
			for _, c := range slices.Concat(m.Ours, m.Theirs, m.Same) {
				if got := wanted[0].Objects[c.Key].Definition; got != c.To {
					t.Errorf("%s is %q, want %q", c.Key, got, c.To)
				}
			}
		})
	}
}

// String is for messages of tests.
func (c Change) String() string {
	return fmt.Sprintf("%s %s (%s → %s)", c.Action, c.Key, c.From, c.To)
}
