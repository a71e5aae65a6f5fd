package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/test/harness"
)

// rehearsal is what rehearse prints with -o json.
type rehearsal struct {
	ExitCode int `json:"exit_code"`
	Sampling struct {
		Interval float64 `json:"interval_ms"`
	}
	Locks      []lock
	Rewrites   []struct{ Table string }
	Created    []struct{ Name string }
	WALBytes   int64 `json:"wal_bytes"`
	Log        []struct{ Severity, Message string }
	Broken     []string
	Notes      []string
	TimedOut   bool `json:"timed_out"`
	Sampled    bool `json:"statements_sampled"`
	Statements []statement
	Schema     []string `json:"schema_statements"`
}

type statement struct {
	Statement   string
	Calls, Rows int64
}

type lock struct {
	Statement, Mode, Table string
	Held                   float64 `json:"held_ms"`
	BlocksReads            bool    `json:"blocks_reads"`
	BlocksWrites           bool    `json:"blocks_writes"`
}

// TestRehearse: what a migration does on a throw-away clone is reported, for
// people and for programs, and may not pass a gate.
func TestRehearse(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		psql := harness.BinDir(t) + "/psql"
		script := filepath.Join(e.Dir, "fix.sql")
		sql := `
BEGIN; ALTER TABLE orders ADD COLUMN fixed boolean; SELECT pg_sleep(0.4); COMMIT;
ALTER TABLE order_items ALTER COLUMN quantity TYPE bigint;
CREATE INDEX orders_fixed ON orders (id) WHERE fixed;
DO $$ BEGIN RAISE WARNING 'mind the gap'; END $$;
UPDATE orders SET note = 'a' WHERE id = 1; UPDATE orders SET note = 'b' WHERE id = 2; UPDATE orders SET note = 'c' WHERE id IN (3, 4);
UPDATE orders SET note = 'd' WHERE id = 5;
`
		if err := os.WriteFile(script, []byte(sql), 0o644); err != nil {
			t.Fatal(err)
		}
		command := []string{"--", psql, "-Xqv", "ON_ERROR_STOP=1", "-f", script}
		file := filepath.Join(e.Dir, "report")
		out := e.Ctl(append([]string{"rehearse", "--golden", "shop", "-o", "json", "--report", file + ".md", "--report", file + ".json"}, command...)...)
		var r rehearsal
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		i := slices.IndexFunc(r.Locks, func(l lock) bool {
			return l.Table == "public.orders" && l.Mode == "AccessExclusive"
		})
		if i < 0 || r.Locks[i].Held < 300 || !r.Locks[i].BlocksReads || !r.Locks[i].BlocksWrites {
			t.Errorf("the lock of ALTER TABLE is not there: %+v", r.Locks)
		}
		if r.ExitCode != 0 || r.Sampling.Interval > 50 || r.WALBytes == 0 || len(r.Notes) > 0 {
			t.Errorf("report: %+v", r)
		}
		// The image has pg_stat_statements, so none of them is missed.
		updates := slices.IndexFunc(r.Statements, func(s statement) bool {
			return strings.HasPrefix(s.Statement, "UPDATE orders SET note = $1 WHERE id = $2")
		})
		if r.Sampled || updates < 0 || r.Statements[updates].Calls != 3 || r.Statements[updates].Rows != 3 {
			t.Errorf("statements, sampled %v: %+v", r.Sampled, r.Statements)
		}
		if len(r.Rewrites) == 0 || r.Rewrites[0].Table != "public.order_items" {
			t.Errorf("rewrites: %+v", r.Rewrites)
		}
		if len(r.Created) != 1 || r.Created[0].Name != "public.orders_fixed" {
			t.Errorf("created: %+v", r.Created)
		}
		if len(r.Log) != 1 || r.Log[0].Severity != "WARNING" || !strings.Contains(r.Log[0].Message, "mind the gap") {
			t.Errorf("log: %+v", r.Log)
		}
		if ddl := strings.Join(r.Schema, "\n"); !strings.Contains(ddl, `"fixed"`) || !strings.Contains(ddl, "orders_fixed") || !strings.Contains(ddl, "bigint") {
			t.Errorf("schema:\n%s", ddl)
		}
		if data, err := os.ReadFile(file + ".json"); err != nil || string(data) != out {
			t.Errorf("the report as a file: %s, %v", data, err)
		}
		if data, err := os.ReadFile(file + ".md"); err != nil || !strings.HasPrefix(string(data), "### ⚠️ Rehearsal succeeded") || !strings.Contains(string(data), "public.orders_fixed") {
			t.Errorf("the report for a comment: %s, %v", data, err)
		}
		e.CheckNothingLeft()

		gated := e.Try(append([]string{"rehearse", "--fail-on", "exclusive-lock>200ms,rewrite>1TB"}, command...)...)
		if gated.Code != 5 || !strings.Contains(gated.Stderr, "AccessExclusive on public.orders for") || strings.Contains(gated.Stderr, "rewrite>1TB") || !strings.Contains(gated.Stdout, "not passed: exclusive-lock>200ms") {
			t.Errorf("a gate: exit %d\n%s%s", gated.Code, gated.Stdout, gated.Stderr)
		}
		if passed := e.Try(append([]string{"rehearse", "--fail-on", "exclusive-lock>1h,error"}, command...)...); passed.Code != 0 {
			t.Errorf("a wide gate: exit %d\n%s%s", passed.Code, passed.Stdout, passed.Stderr)
		}

		// On a fork of a clone, with a command that fails.
		dev := e.Create("dev")
		if libraries := harness.QueryText(t, dev.Endpoint.URL, "SHOW shared_preload_libraries"); libraries != "" {
			t.Errorf("an ordinary clone loads %s", libraries)
		}
		harness.ExecSQL(t, dev.Endpoint.URL, "ALTER TABLE orders ADD COLUMN fixed int")
		failed := e.Try(append([]string{"rehearse", "--from", "dev", "-o", "markdown"}, command...)...)
		if failed.Code != 3 || !strings.Contains(failed.Stdout, "Rehearsal failed") || !strings.Contains(failed.Stdout, `column "fixed" of relation "orders" already exists`) {
			t.Errorf("a command that fails: exit %d\n%s%s", failed.Code, failed.Stdout, failed.Stderr)
		}
		hangs := e.Try("rehearse", "--command-timeout", "1s", "--", "sleep", "600")
		if hangs.Code != 8 || !strings.Contains(hangs.Stdout, "timed out") {
			t.Errorf("a command that hangs: exit %d\n%s%s", hangs.Code, hangs.Stdout, hangs.Stderr)
		}
		for _, args := range [][]string{
			{"--fail-on", "exclusive-lock>soon", "--", "true"}, {"--report", "x.pdf", "--", "true"}, {"--", "/nosuch"}, {},
			{"--from", "dev", "--golden", "shop", "--", "true"}, {"-o", "xml", "--", "true"},
		} {
			if bad := e.Try(append([]string{"rehearse"}, args...)...); bad.Code != 2 {
				t.Errorf("rehearse %v: exit %d: %s", args, bad.Code, bad.Stderr)
			}
		}
		if n := harness.QueryInt(t, dev.Endpoint.URL, "SELECT count(*) FROM pg_indexes WHERE indexname = 'orders_fixed'"); n != 0 {
			t.Error("the rehearsal wrote to the clone that it is a fork of")
		}
		e.CheckNothingLeft()
	})
}
