package rehearse

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// full is a report in which there is everything.
func full() Report {
	return Report{
		Command: []string{"bin/migrate", "up"}, Started: time.Date(2026, 11, 21, 7, 0, 0, 0, time.UTC), Took: ms(65300),
		ExitCode: 3, Error: "exit status 3",
		Sampling: Sampling{Interval: ms(20), MaxGap: ms(31), Samples: 3100},
		Locks: []Lock{
			{Statement: "ALTER TABLE orders ADD COLUMN token text DEFAULT md5(random()::text || '`')", Mode: "AccessExclusive", Table: "public.orders",
				Database: "shop", Held: ms(2140), Waited: ms(300), FirstSeen: ms(120), BlocksReads: true, BlocksWrites: true},
			{Statement: "CREATE INDEX ON orders (token)", Mode: "Share", Table: "public.orders", Database: "shop", Held: ms(900), FirstSeen: ms(2600), BlocksWrites: true},
			{Statement: "LOCK TABLE jobs", Mode: "AccessExclusive", Table: "public.jobs", Database: "queue", Waited: ms(40), FirstSeen: ms(5000), BlocksReads: true, BlocksWrites: true},
			{Statement: "VACUUM jobs", Mode: "ShareUpdateExclusive", Table: "public.jobs", Database: "queue", Held: ms(20), FirstSeen: ms(6000)},
			{Statement: "VACUUM jobs", Mode: "ShareUpdateExclusive", Table: "public.jobs", Database: "queue", Held: ms(60), FirstSeen: ms(7000)},
		},
		WeakLocks: 41, PrivateLocks: 2,
		Statements: []Statement{
			{Statement: "ALTER TABLE orders ADD COLUMN token text DEFAULT md5(random()::text || $1)", Database: "shop", Calls: 1, Total: ms(2130), WALBytes: 90 << 20},
			{Statement: "UPDATE orders SET note = $1 WHERE id = $2", Database: "shop", Calls: 5000, Total: ms(800), Rows: 5000, WALBytes: 3 << 20},
		},
		Rewrites: []Rewrite{
			{Table: "public.orders", Kind: "table", Database: "shop", OldFilenode: 16400, NewFilenode: 16500, Bytes: 96 << 20},
			{Table: "public.orders_pkey", Kind: "index", Database: "shop", OldFilenode: 16402, NewFilenode: 16502, Bytes: 11 << 20},
		},
		Created:  []Relation{{Name: "public.orders_token_idx", Kind: "index", Database: "shop", Bytes: 40 << 20}},
		Dropped:  []Relation{{Name: "public.v", Kind: "view", Database: "shop"}},
		WALBytes: 150 << 20, SizeBefore: 300 << 20, SizeAfter: 380 << 20,
		Growth: []Growth{
			{Table: "public.orders", Database: "shop", Before: 80 << 20, After: 161 << 20, Delta: 81 << 20},
			{Table: "public.jobs", Database: "queue", Before: 2 << 20, After: 1 << 20, Delta: -1 << 20},
		},
		Log:    []LogLine{{"ERROR", `relation "nope" does not exist at character 15`, 2}, {"WARNING", "there is no transaction in progress", 1}},
		Notes:  []string{"database shop: the sizes of its tables are <unknown>"},
		Schema: map[string]any{"tables": 1.0}, SchemaMarkdown: "Table `orders`: column `token` added\n",
		SchemaStatements: []string{"ALTER TABLE orders ADD COLUMN token text;", "-- ```\nCREATE INDEX orders_token_idx ON orders (token);"},
	}
}

// quiet is a report of a command that did nothing dangerous.
func quiet() Report {
	return Report{
		Took: ms(740), Sampling: Sampling{Interval: ms(20), MaxGap: ms(22), Samples: 37}, StatementsSampled: true,
		Locks:      []Lock{{Statement: "CREATE INDEX CONCURRENTLY i ON a (id)", Mode: "ShareUpdateExclusive", Table: "public.a", Database: "shop", Held: ms(700)}},
		Statements: []Statement{{Statement: "CREATE INDEX CONCURRENTLY i ON a (id)", Database: "shop", Calls: 1, Total: ms(700), LastSeen: ms(700)}},
		WALBytes:   1 << 20, SizeBefore: 10 << 20, SizeAfter: 10 << 20,
	}
}

func TestGolden(t *testing.T) {
	late := quiet()
	late.TimedOut, late.ExitCode, late.Error, late.Locks, late.Statements = true, -1, "not finished within 700ms: signal: killed", nil, nil
	for name, got := range map[string]string{
		"full.md": full().Markdown(), "full.txt": full().Text(),
		"quiet.md": quiet().Markdown(), "quiet.txt": quiet().Text(),
		"late.md": late.Markdown(), "late.txt": late.Text(),
	} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs; after checking it, go test -update. Got:\n%s", name, got)
		}
	}
}

func TestMarkdownBounds(t *testing.T) {
	r := full()
	for range 10 {
		r.Locks = append(r.Locks, r.Locks...)
		r.Rewrites = append(r.Rewrites, r.Rewrites...)
		r.Created = append(r.Created, r.Created...)
		r.Log = append(r.Log, r.Log...)
	}
	for i := range r.Locks {
		r.Locks[i].Statement = strings.Repeat("é", i%maxText)
	}
	r.SchemaStatements = []string{strings.Repeat("x", 100000)}
	r.Error = strings.Repeat("e", 100000)
	if n := len(r.Markdown()); n > 65536 {
		t.Errorf("%d bytes are too long for a comment", n)
	}
	if n := len(r.Text()); n > 8000 {
		t.Errorf("%d bytes are too long for a terminal", n)
	}
}

func TestCode(t *testing.T) {
	for text, want := range map[string]string{
		"":              "",
		"a":             "`a`",
		"a|b":           "`a\\|b`",
		"a`b":           "``a`b``",
		"`a":            "`` `a ``",
		"a\nb":          "`a b`",
		"<b> @x *y*":    "`<b> @x *y*`",
		"``` many ` ``": "```` ``` many ` `` ````",
	} {
		if got := code(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestJSON(t *testing.T) {
	want := full()
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{`"took_ms":65300`, `"held_ms":2140`, `"max_gap_ms":31`, `"blocks_reads":true`, `"wal_bytes":157286400`, `"schema_statements":[`} {
		if !strings.Contains(string(data), word) {
			t.Errorf("no %s in %s", word, data)
		}
	}
	var got Report
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want.SchemaMarkdown = ""
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
