package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/test/harness"
)

// relationChange is a part of what clonectl changes -o json prints.
type relationChange struct {
	Database, Name, Kind    string
	WrittenBytes, SizeBytes json.Number
	Created                 bool
}

func (r relationChange) bytes(t *testing.T) int64 {
	t.Helper()
	if r.WrittenBytes == "" {
		return 0
	}
	n, err := r.WrittenBytes.Int64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// changes are those of a clone, by kind and name, and the snapshot that they are
// since.
func changes(t *testing.T, e *harness.Env, args ...string) (since string, by map[string]relationChange) {
	t.Helper()
	var d struct {
		Since     string
		Relations []relationChange
	}
	if err := json.Unmarshal([]byte(e.Ctl(append([]string{"changes", "-o", "json"}, args...)...)), &d); err != nil {
		t.Fatal(err)
	}
	by = map[string]relationChange{}
	for _, r := range d.Relations {
		if r.Database == "shop" {
			by[r.Kind+" "+r.Name] = r
		}
	}
	return d.Since, by
}

// TestChanges: a clone says in which tables was written, and how much, since what
// it came from and since its own snapshots.
func TestChanges(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		dev := e.Create("dev")
		if e.Driver == "dir" {
			if r := e.Try("changes", "dev"); r.Code != 5 || !strings.Contains(r.Stderr, "does not know what changed") || !strings.Contains(r.Stderr, "ZFS or btrfs") {
				t.Errorf("changes: exit %d: %s", r.Code, r.Stderr)
			}
			e.CheckNothingLeft()
			return
		}
		untouched := func(by map[string]relationChange, names ...string) {
			t.Helper()
			for _, name := range names {
				if r, ok := by[name]; ok {
					t.Errorf("%s was not touched: %+v", name, r)
				}
			}
		}
		tree, log := e.Ctl("tree", "-o", "dot"), e.Ctl("log", "dev", "-o", "json")
		since, by := changes(t, e, "dev")
		if since != dev.Snapshot {
			t.Errorf("since %s, want %s", since, dev.Snapshot)
		}
		untouched(by, "table public.orders", "table public.customers", "index public.orders_pkey")

		// 1,000 bytes in each of the table's rows, which do not fit beside the old ones.
		harness.ExecSQL(t, dev.Endpoint.URL, `UPDATE orders SET note = repeat('x', 1000)`)
		least := 1000 * harness.QueryInt(t, dev.Endpoint.URL, "SELECT count(*) FROM orders")
		_, by = changes(t, e, "dev")
		orders := by["table public.orders"]
		if n := orders.bytes(t); n < least || n > 3*least || orders.Created {
			t.Errorf("%d bytes were written: %+v", least, orders)
		}
		if by["index public.orders_pkey"].bytes(t) == 0 {
			t.Errorf("its index is not among %+v", by)
		}
		untouched(by, "table public.customers", "table public.products", "index public.products_pkey")
		if out := e.Ctl("changes", "dev"); !strings.Contains(out, "public.orders_pkey") || strings.Contains(out, "pg_catalog") {
			t.Errorf("as a table:\n%s", out)
		}

		e.Ctl("snapshot", "dev@v1")
		harness.ExecSQL(t, dev.Endpoint.URL, `
INSERT INTO products (sku, price_cents, stock) SELECT 'new' || i, 1, 1 FROM generate_series(1, 500) AS i;
CREATE TABLE late AS SELECT i FROM generate_series(1, 1000) AS i`)
		_, by = changes(t, e, "dev", "--since", "v1")
		untouched(by, "table public.orders", "index public.orders_pkey", "table public.customers")
		if products, late := by["table public.products"], by["table public.late"]; products.bytes(t) == 0 || products.Created || late.bytes(t) == 0 || !late.Created {
			t.Errorf("since v1: %+v", by)
		}
		// A fork's changes are those since the moment in which it was forked.
		fork := e.Create("fork", "--from", "dev@v1")
		harness.ExecSQL(t, fork.Endpoint.URL, `INSERT INTO customers (email, name) VALUES ('x', 'y')`)
		_, by = changes(t, e, "fork")
		untouched(by, "table public.orders", "table public.products", "table public.late")
		if by["table public.customers"].bytes(t) == 0 {
			t.Errorf("of the fork: %+v", by)
		}
		if _, by = changes(t, e, "fork", "--since", dev.Snapshot); by["table public.orders"].bytes(t) < least {
			t.Errorf("of the fork since the golden: %+v", by)
		}

		for code, args := range map[int][]string{3: {"nosuch"}, 5: {"fork", "--since", strings.TrimSpace(e.Ctl("snapshot", "dev", "-o", "name"))}} {
			if r := e.Try(append([]string{"changes"}, args...)...); r.Code != code {
				t.Errorf("changes %v: exit %d: %s", args, r.Code, r.Stderr)
			}
		}
		e.Ctl("suspend", "dev")
		if r := e.Try("changes", "dev"); r.Code != 5 || !strings.Contains(r.Stderr, "clonectl resume dev") {
			t.Errorf("of a suspended clone: exit %d: %s", r.Code, r.Stderr)
		}
		e.CheckNothingLeft()
		// What was compared would hold its volume.
		e.Ctl("rm", "--now", "fork")
		e.Ctl("rm", "--now", "dev")
		again := e.Create("dev")
		changes(t, e, "dev")
		if now := e.Ctl("log", "dev", "-o", "json"); strings.Count(now, "\n") != strings.Count(log, "\n") {
			t.Errorf("the lineage was %s and is %s", log, now)
		}
		if now := e.Ctl("tree", "-o", "dot"); strings.Count(now, "\n") != strings.Count(tree, "\n") {
			t.Errorf("of %s the tree was\n%s\nand is\n%s", again.ID, tree, now)
		}
		e.CheckNothingLeft()
	})
}
