package e2e

import (
	"context"
	"encoding/json"
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
		for _, args := range [][]string{{"nosuch"}, {"dev", "nosuch"}, {"dev@nosuch", "dev"}} {
			if r := e.Try(append([]string{"diff"}, args...)...); r.Code != 3 {
				t.Errorf("diff %v: exit %d: %s", args, r.Code, r.Stderr)
			}
		}
		e.CheckNothingLeft()
	})
}

// TestMerge brings the schema of one clone into another, and refuses to where
// they conflict.
func TestMerge(t *testing.T) {
	eachWith(t, "undo=24h", func(t *testing.T, e *harness.Env) {
		e.Start()
		source := e.DataDirectory(scale(2_000))
		e.Ctl("golden", "create", "shop", "--from-directory", source)
		e.Ctl("golden", "create", "else", "--from-directory", source)
		dev := e.Create("dev", "--golden", "shop")
		e.Ctl("golden", "refresh", "shop")
		hotfix := e.Create("hotfix", "--golden", "shop")
		e.Create("stranger", "--golden", "else")
		harness.ExecSQL(t, dev.Endpoint.URL, `
CREATE TABLE wishes (id bigint PRIMARY KEY, customer bigint); INSERT INTO wishes VALUES (1, 1);
ALTER TABLE orders ADD COLUMN shared int; CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT 2 * $1'`)
		harness.ExecSQL(t, hotfix.Endpoint.URL, `
ALTER TABLE orders ADD COLUMN shared int, ADD COLUMN fixed boolean NOT NULL DEFAULT false;
CREATE INDEX orders_fixed ON orders (id) WHERE NOT fixed; DELETE FROM order_items WHERE order_id = 1`)

		out := e.Ctl("merge", "hotfix", "--into", "dev", "--dry-run")
		if !strings.Contains(out, `ADD COLUMN "fixed"`) || !strings.Contains(out, "orders_fixed") || strings.Contains(out, `"shared"`) ||
			!strings.Contains(out, "rehearsal succeeded") || !strings.Contains(out, " of WAL, ") {
			t.Errorf("dry run:\n%s", out)
		}
		if now := e.Show("dev"); now.Generation != dev.Generation {
			t.Errorf("the dry run changed dev: %+v", now)
		}
		e.Ctl("merge", "hotfix", "--into", "dev")
		url := e.Show("dev").Endpoint.URL
		if url != dev.Endpoint.URL {
			t.Errorf("the URL changed to %s", url)
		}
		for query, want := range map[string]int64{
			"SELECT count(*) FROM wishes":                                      1, // rows stay
			"SELECT count(*) FROM order_items WHERE order_id = 1":              2, // and are not merged
			"SELECT twice(4)":                                                  8,
			"SELECT count(*) FROM pg_indexes WHERE indexname = 'orders_fixed'": 1,
			"SELECT count(*) FROM orders WHERE id = 1 AND NOT fixed":           1,
		} {
			if n := harness.QueryInt(t, url, query); n != want {
				t.Errorf("%s: %d, want %d", query, n, want)
			}
		}
		if out := e.Ctl("merge", "hotfix", "--into", "dev"); !strings.Contains(out, "nothing is to be done") {
			t.Errorf("merged again:\n%s", out)
		}
		e.Ctl("undo", "dev")
		if n := harness.QueryInt(t, url, "SELECT count(*) FROM pg_indexes WHERE indexname = 'orders_fixed'"); n != 0 {
			t.Error("undo left the merge")
		}

		// What is written to the target meanwhile would be lost.
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			for ctx.Err() == nil {
				if err := harness.TrySQL(ctx, url, "UPDATE wishes SET customer = customer + 1"); err != nil && ctx.Err() == nil {
					ended <- err
					return
				}
			}
			ended <- nil
		}()
		busy := e.Try("merge", "hotfix", "--into", "dev")
		stop()
		if err := <-ended; err != nil || busy.Code != 6 || !strings.Contains(busy.Stderr, "dev was written to meanwhile, and is as it was") {
			t.Errorf("a merge into a clone in which somebody writes: exit %d: %s; %v", busy.Code, busy.Stderr, err)
		}

		// A fork's ancestor is the state in which it was forked.
		fork := e.Create("fork", "--from", "dev")
		harness.ExecSQL(t, fork.Endpoint.URL, "ALTER TABLE wishes ADD COLUMN note text")
		harness.ExecSQL(t, url, "CREATE TABLE later (id int)")
		out = e.Ctl("merge", "fork", "--into", "dev")
		if strings.Contains(out, "later") || !strings.Contains(out, "note") {
			t.Errorf("merge of a fork:\n%s", out)
		}
		if n := harness.QueryInt(t, url, "SELECT count(note) + (SELECT count(*) FROM later) FROM wishes"); n != 0 {
			t.Error("a merge made rows")
		}

		harness.ExecSQL(t, hotfix.Endpoint.URL, "ALTER TABLE orders ALTER shared TYPE bigint; CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + $1'")
		before := e.Show("dev").Generation
		r := e.Try("merge", "hotfix", "--into", "dev")
		if r.Code != 6 {
			t.Errorf("a conflict: exit %d: %s", r.Code, r.Stderr)
		}
		for _, want := range []string{"conflict: column public.orders.shared", "dev: integer", "hotfix: bigint", "base: (not there)", "conflict: function public.twice(integer)"} {
			if !strings.Contains(r.Stdout, want) {
				t.Errorf("the conflict does not say %q:\n%s", want, r.Stdout)
			}
		}
		if now := e.Show("dev").Generation; now != before {
			t.Errorf("a conflict changed dev: generation %s", now)
		}
		if r := e.Try("merge", "stranger", "--into", "dev"); r.Code != 5 || !strings.Contains(r.Stderr, "no common ancestor") {
			t.Errorf("strangers: exit %d: %s", r.Code, r.Stderr)
		}
		if r := e.Try("merge", "dev", "--into", "dev"); r.Code != 2 {
			t.Errorf("with itself: exit %d: %s", r.Code, r.Stderr)
		}
		for _, name := range []string{"fork", "dev", "hotfix", "stranger"} {
			e.Ctl("rm", "--now", name)
		}
		e.CheckNothingLeft()
	})
}
