package e2e

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/test/harness"
)

// TestDiff compares clones, snapshots and goldens, schema and rows.
func TestDiff(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		dev := e.Create("dev")
		other := e.Create("other")
		same := func(args ...string) {
			t.Helper()
			if out := e.Ctl(append([]string{"diff"}, args...)...); !strings.Contains(out, "no differences in the schema") {
				t.Errorf("diff %v: %s", args, out)
			}
		}
		same("dev")
		same("dev", "other")
		same("shop", "dev")
		harness.ExecSQL(t, dev.Endpoint.URL, `
ALTER TABLE orders ADD COLUMN shipped timestamptz;
CREATE INDEX orders_shipped ON orders (shipped);
CREATE VIEW recent AS SELECT * FROM orders WHERE shipped > '2026-01-01'`)
		e.Ctl("snapshot", "dev@v1")
		harness.ExecSQL(t, dev.Endpoint.URL, `CREATE TABLE late (id int PRIMARY KEY)`)
		for _, args := range [][]string{{"dev"}, {"shop", "dev"}, {"other", "dev"}} {
			out := e.Ctl(append([]string{"diff"}, args...)...)
			for _, want := range []string{`ADD COLUMN "shipped"`, "orders_shipped", `VIEW "public"."recent"`, `TABLE "public"."late"`, "-- not compared: owners"} {
				if !strings.Contains(out, want) {
					t.Errorf("diff %v does not say %q:\n%s", args, want, out)
				}
			}
			if strings.Contains(out, "differs still") || strings.Contains(out, "failed") {
				t.Errorf("diff %v leaves something:\n%s", args, out)
			}
		}
		if out := e.Ctl("diff", "dev@v1", "dev"); !strings.Contains(out, "late") || strings.Contains(out, "shipped") {
			t.Errorf("diff since v1:\n%s", out)
		}
		var d struct {
			Statements []struct{ SQL string }
			Changes    []struct{ Kind, Name, Action string }
			Data       []struct {
				Table                   string
				Read                    bool
				Added, Changed, Removed int
			}
		}
		harness.ExecSQL(t, other.Endpoint.URL, `DELETE FROM order_items WHERE order_id = 1 AND line = 1; UPDATE orders SET note = 'x' WHERE id IN (10, 11)`)
		if err := json.Unmarshal([]byte(e.Ctl("diff", "shop", "other", "--data", "-o", "json")), &d); err != nil {
			t.Fatal(err)
		}
		rows := 0
		for _, table := range d.Data {
			written := e.Driver == "dir" || table.Table == "public.orders" || table.Table == "public.order_items"
			if table.Read != written {
				t.Errorf("%s was read: %v", table.Table, table.Read)
			}
			if table.Table == "public.orders" && (table.Removed != 0 || table.Changed != 2 || table.Added != 0) {
				t.Errorf("orders: %+v", table)
			}
			rows += table.Added + table.Changed + table.Removed
		}
		if len(d.Changes)+len(d.Statements) != 0 || rows != 3 {
			t.Errorf("diff of rows only: %+v", d)
		}
		// Of two clones, what either has written since they were one.
		harness.ExecSQL(t, dev.Endpoint.URL, `UPDATE customers SET name = 'z' WHERE id = 1`)
		out := e.Ctl("diff", "other", "dev", "--data", "-o", "json")
		if err := json.Unmarshal([]byte(out), &d); err != nil {
			t.Fatal(err)
		}
		for _, table := range d.Data {
			if table.Table == "public.customers" && (table.Changed != 1 || !table.Read) || table.Table == "public.products" && table.Read != (e.Driver == "dir") {
				t.Errorf("of two clones: %+v", table)
			}
		}
		diffMore(t, e, dev)
		for _, args := range [][]string{{"nosuch"}, {"dev", "nosuch"}, {"dev@nosuch", "dev"}} {
			if r := e.Try(append([]string{"diff"}, args...)...); r.Code != 3 {
				t.Errorf("diff %v: exit %d: %s", args, r.Code, r.Stderr)
			}
		}
		e.CheckNothingLeft()
	})
}

// diffMore: what a comparison says of rows that became visible without being
// written, of one table, of the Git branch, and of statements that don't do all.
func diffMore(t *testing.T, e *harness.Env, dev harness.Clone) {
	t.Helper()
	run := statements(t, dev.Endpoint.URL)
	// The snapshot flushes the rows; the commit writes only that it is one.
	run("BEGIN; UPDATE products SET price_cents = price_cents + 1 WHERE id <= 3")
	e.Ctl("snapshot", "dev@open")
	run("COMMIT")
	if out := e.Ctl("diff", "dev@open", "dev", "--data", "--table", "public.products"); !strings.Contains(strings.Join(strings.Fields(out), " "), "public.products 0 3 0") {
		t.Errorf("rows that a commit made visible are not seen:\n%s", out)
	}
	e.Ctl("snapshot", "dev@closed")
	run("UPDATE orders SET note = 'w' WHERE id = 1; UPDATE customers SET name = 'w' WHERE id = 1")
	var d struct {
		Data []struct {
			Table   string
			Changed int
			Read    bool
		}
	}
	if err := json.Unmarshal([]byte(e.Ctl("diff", "dev@closed", "dev", "--table", "public.orders", "--table", "public.products", "-o", "json")), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Data) != 2 || d.Data[0].Table != "public.orders" || d.Data[0].Changed != 1 || d.Data[1].Changed != 0 || d.Data[1].Read != (e.Driver == "dir") {
		t.Errorf("of two tables: %+v", d.Data)
	}

	// Without a name it is the Git branch's clone.
	repo := filepath.Join(e.Dir, "repo")
	if out, err := exec.Command("git", "init", "-q", "-b", "dev", repo).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mine := e.Command("diff")
	mine.Dir = repo
	if out, err := mine.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "-- from dev@"+dev.Snapshot+" to dev\n") || !strings.Contains(string(out), "shipped") {
		t.Errorf("of the Git branch's clone: %v: %s", err, out)
	}

	// Where no statements can be made, it is said what differs.
	run("CREATE TABLE parts (x int) PARTITION BY LIST (x); CREATE TABLE part_1 PARTITION OF parts FOR VALUES IN (1)")
	e.Ctl("snapshot", "dev@parted")
	run("DROP TABLE part_1")
	if out := e.Ctl("diff", "dev@parted", "dev"); !strings.Contains(out, "-- no statements can be made") || !strings.Contains(out, "-- differs still after these statements: table public.part_1, removed\n") {
		t.Errorf("of a partition that is gone:\n%s", out)
	}
	run("DROP TABLE parts")

	// What no statement is made for, and a statement that the rows don't allow.
	run(`CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0')`)
	if out := e.Ctl("diff", "dev@closed", "dev"); !strings.Contains(out, "-- differs still after these statements: aggregate public.total(integer), added\n") || strings.Contains(out, "failed") {
		t.Errorf("of an aggregate:\n%s", out)
	}
	run("ALTER TABLE customers ADD COLUMN must int; UPDATE customers SET must = 1; ALTER TABLE customers ALTER must SET NOT NULL")
	if out := e.Ctl("diff", "dev@closed", "dev"); !strings.Contains(out, "-- tried on a copy, a statement failed: ") || !strings.Contains(out, `"must"`) ||
		!strings.Contains(out, "-- differs still after these statements: column public.customers.must, added\n") {
		t.Errorf("of a column that the rows don't have:\n%s", out)
	}
}
