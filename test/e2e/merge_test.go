package e2e

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/test/harness"
)

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
	run := statements(t, url)
	before := e.Show("dev").Generation
	run("BEGIN; INSERT INTO wishes VALUES (100, 1)")
	if r := e.Try("merge", "hotfix", "--into", "dev"); r.Code != 6 || !strings.Contains(r.Stderr, "1 transactions that write are open in dev") {
		t.Errorf("with a transaction open: exit %d: %s", r.Code, r.Stderr)
	}
	if out := e.Ctl("merge", "hotfix", "--into", "dev", "--dry-run"); !strings.Contains(out, "rehearsal succeeded") {
		t.Errorf("a dry run with a transaction open: %s", out)
	}
	run("COMMIT")
	run("BEGIN; SELECT count(*) FROM wishes") // it writes later
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
	run("INSERT INTO wishes VALUES (101, 1)")
	run("COMMIT")
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
