package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

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
	conn, err := pgx.Connect(t.Context(), dev.Endpoint.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	run := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
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
		var done struct {
			From, Into, Base   string
			Statements         []struct{ SQL string }
			Ours, Theirs, Same []struct{ Kind, Name string }
			Conflicts, Tried   []any
			Generation         json.Number
		}
		if out := e.Ctl("merge", "hotfix", "--into", "dev", "-o", "json"); json.Unmarshal([]byte(out), &done) != nil {
			t.Fatalf("as JSON: %s", out)
		}
		merged := e.Show("dev")
		if done.From != "hotfix" || done.Into != "dev" || !strings.HasPrefix(done.Base, "dev@") || done.Generation != merged.Generation || len(done.Statements) != 2 ||
			len(done.Theirs) != 2 || len(done.Same) != 1 || len(done.Ours) < 3 || len(done.Conflicts)+len(done.Tried) != 0 {
			t.Errorf("as JSON: %+v; dev is at %s", done, merged.Generation)
		}
		url := merged.Endpoint.URL
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
		if err := <-ended; err != nil || busy.Code != 6 {
			t.Errorf("a merge into a clone in which somebody writes: exit %d: %s; %v", busy.Code, busy.Stderr, err)
		}
		mergeWhileWriting(t, e, url)

		// A merge that keeps nothing can't be taken back.
		kept := len(e.Show("dev").Kept)
		e.Ctl("merge", "hotfix", "--into", "dev", "--now")
		if now := e.Show("dev"); len(now.Kept) != kept || harness.QueryInt(t, url, "SELECT count(*) FROM pg_indexes WHERE indexname = 'orders_fixed'") != 1 {
			t.Errorf("merged with --now, there are %d kept, and were %d", len(now.Kept), kept)
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
		for _, want := range []string{
			"conflict: column public.orders.shared", "dev: integer", "hotfix: bigint", "base: (not there)", "conflict: function public.twice(integer)",
			`ADD COLUMN "shared" integer`, `ADD COLUMN "shared" bigint`, "$function$SELECT 2 * $1$function$", "$function$SELECT $1 + $1$function$",
		} {
			if !strings.Contains(r.Stdout, want) {
				t.Errorf("the conflict does not say %q:\n%s", want, r.Stdout)
			}
		}
		if now := e.Show("dev").Generation; now != before {
			t.Errorf("a conflict changed dev: generation %s", now)
		}
		mergeInOrder(t, e)
		if r := e.Try("merge", "stranger", "--into", "dev"); r.Code != 5 || !strings.Contains(r.Stderr, "no common ancestor") {
			t.Errorf("strangers: exit %d: %s", r.Code, r.Stderr)
		}
		if r := e.Try("merge", "dev", "--into", "dev"); r.Code != 2 {
			t.Errorf("with itself: exit %d: %s", r.Code, r.Stderr)
		}
		for _, name := range []string{"fork", "dev", "hotfix", "stranger", "left", "right"} {
			e.Ctl("rm", "--now", name)
		}
		e.CheckNothingLeft()
	})
}

// mergeWhileWriting: nothing that somebody has committed to the target is lost,
// whenever it was begun.
func mergeWhileWriting(t *testing.T, e *harness.Env, url string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	before := e.Show("dev").Generation
	exec("BEGIN; INSERT INTO wishes VALUES (100, 1)")
	if r := e.Try("merge", "hotfix", "--into", "dev"); r.Code != 6 || !strings.Contains(r.Stderr, "1 transactions that write are open in dev") {
		t.Errorf("with a transaction open: exit %d: %s", r.Code, r.Stderr)
	}
	if out := e.Ctl("merge", "hotfix", "--into", "dev", "--dry-run"); !strings.Contains(out, "rehearsal succeeded") {
		t.Errorf("a dry run with a transaction open: %s", out)
	}
	exec("COMMIT")
	exec("BEGIN; SELECT count(*) FROM wishes") // it writes later
	merge := e.Command("merge", "hotfix", "--into", "dev")
	var stderr strings.Builder
	merge.Stderr = &stderr
	if err := merge.Start(); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, time.Minute, "the copy of dev is made", func() error {
		for _, c := range e.List() {
			if strings.HasPrefix(c.Name, "dev-merge-") {
				return nil
			}
		}
		return os.ErrNotExist
	})
	exec("INSERT INTO wishes VALUES (101, 1)")
	exec("COMMIT")
	_ = merge.Wait() // its exit code is looked at
	if code := merge.ProcessState.ExitCode(); code != 6 || !strings.Contains(stderr.String(), "dev was written to meanwhile, and is as it was") {
		t.Errorf("written to during the merge: exit %d: %s", code, stderr.String())
	}
	if now := e.Show("dev").Generation; now != before || harness.QueryInt(t, url, "SELECT count(*) FROM wishes WHERE id >= 100") != 2 {
		t.Errorf("dev is at generation %s, and was at %s; or a row is lost", now, before)
	}
}

// mergeInOrder: changes of which each is fine and that can't be made one after the
// other are a conflict, which is shown with what both sides have done.
func mergeInOrder(t *testing.T, e *harness.Env) {
	t.Helper()
	left, right := e.Create("left", "--golden", "shop"), e.Create("right", "--golden", "shop")
	harness.ExecSQL(t, left.Endpoint.URL, "ALTER TABLE orders DROP COLUMN note")
	harness.ExecSQL(t, right.Endpoint.URL, "CREATE INDEX orders_note ON orders (note); CREATE VIEW noted AS SELECT id, note FROM orders")
	for _, args := range [][]string{{"merge", "right", "--into", "left"}, {"merge", "left", "--into", "right"}} {
		r := e.Try(args...)
		if r.Code != 6 || !strings.Contains(r.Stderr, "can't be done after what") || !strings.Contains(r.Stderr, args[3]+" is as it was") {
			t.Errorf("%v: exit %d: %s", args, r.Code, r.Stderr)
		}
		for _, want := range []string{"-- what left has changed:", `DROP COLUMN "note"`, "-- what right has changed:", "INDEX orders_note", `VIEW "public"."noted"`} {
			if !strings.Contains(r.Stdout, want) {
				t.Errorf("%v does not say %q:\n%s", args, want, r.Stdout)
			}
		}
	}
	if e.Show("left").Generation != left.Generation || e.Show("right").Generation != right.Generation {
		t.Error("a conflict changed one of them")
	}
}
