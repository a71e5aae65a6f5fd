package postgres

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

func TestRelationFile(t *testing.T) {
	for _, test := range []struct {
		dataDir, file string
		db, node      uint64
		ok            bool
	}{
		{"data", "data/base/5/16384", 5, 16384, true},
		{"data", "data/base/5/16384.12", 5, 16384, true},
		{"data", "data/base/5/16384_fsm", 5, 16384, true},
		{"data", "data/base/5/16384_vm.1", 5, 16384, true},
		{"data", "data/base/5/16384_init", 5, 16384, true},
		{"data", "data/global/1262", 0, 1262, true},
		{"data/", "data/global/1262_vm", 0, 1262, true},
		{".", "base/5/16384", 5, 16384, true}, // a replica's dataset
		{"", "base/5/16384", 5, 16384, true},
		{"pg/15/main", "pg/15/main/base/5/16384", 5, 16384, true},
		{"data", "tblspc/16400/PG_15_202209061/5/16384_fsm", 5, 16384, true},       // where a filled volume has it
		{"data", "data/pg_tblspc/16400/PG_15_202209061/5/16384.1", 5, 16384, true}, // in place
		{".", "PG_15_202209061/5/16384", 5, 16384, true},                           // wherever it is
		{"data", "data/base/4294967295/4294967295", 4294967295, 4294967295, true},
		{"data", "data/base/5/4294967296", 0, 0, false}, // no OID
		{"data", "data/base/99999999999999999999/1", 0, 0, false},
		{"data", "data/base/5/t3_16384", 0, 0, false}, // a temporary table
		{"data", "data/base/5/pg_filenode.map", 0, 0, false},
		{"data", "data/base/pgsql_tmp/pgsql_tmp1.0", 0, 0, false},
		{"data", "data/global/pg_control", 0, 0, false},
		{"data", "data/base/5/16384_foo", 0, 0, false},
		{"data", "data/base/5/16384\n", 0, 0, false},
		{"data", "data/pg_tblspc/16400/5/16384", 0, 0, false},
		{"data", "base/5/16384", 0, 0, false},
		{"data", "datum/base/5/16384", 0, 0, false},
		{"data", "other/data/base/5/16384", 0, 0, false},
		{"data", "", 0, 0, false},
	} {
		db, node, ok := relationFile(test.dataDir, test.file)
		if ok != test.ok || ok && (db != test.db || node != test.node) {
			t.Errorf("%s in %q: database %d, node %d, %v", test.file, test.dataDir, db, node, ok)
		}
	}
}

// relations are what files of the clone are, in order.
func (c *clone) relations(files ...database.File) []database.Relation {
	c.w.t.Helper()
	list, err := c.w.engine.Relations(c.w.t.Context(), c.target, files)
	if err != nil {
		c.w.fail("relations", err)
	}
	slices.SortFunc(list, func(a, b database.Relation) int {
		return cmp.Or(cmp.Compare(a.Database, b.Database), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// file is where the first of a relation's files is on the volume.
func (c *clone) file(db, relation string) string {
	c.w.t.Helper()
	target := c.target
	target.Database = db
	rows := askURL(c.w.t, c.w.engine.ConnectionURL(target), "SELECT pg_relation_filepath(oid) FROM pg_class WHERE oid = "+relation)
	if len(rows) != 1 || rows[0][0] == "" {
		c.w.t.Fatalf("%s in %s has no file", relation, db)
	}
	// A tablespace is behind a link, and a volume's files have no links in their names.
	real, err := filepath.EvalSymlinks(filepath.Join(c.volume, c.target.DataDir, filepath.Dir(rows[0][0])))
	if err != nil {
		c.w.t.Fatal(err)
	}
	dir, err := filepath.Rel(c.volume, real)
	if err != nil {
		c.w.t.Fatal(err)
	}
	return filepath.Join(dir, filepath.Base(rows[0][0]))
}

// TestRelations asks a server whose its files are: of two databases, in a
// tablespace, shared by all, made anew and dropped.
func TestRelations(t *testing.T) {
	s := newSource(t)
	s.start()
	s.sql("postgres", "CREATE DATABASE shop", "CREATE DATABASE other", "CREATE DATABASE closed ALLOW_CONNECTIONS false")
	s.sql("shop", "CREATE TABLE orders (id serial PRIMARY KEY, note text)", "CREATE TABLE packed (x int)", "CREATE TABLE doomed (x int)",
		"CREATE MATERIALIZED VIEW sums AS SELECT 1 AS x", `CREATE SCHEMA "a b"`, `CREATE TABLE "a b"."c.d" (x int)`)
	s.sql("other", "CREATE TABLE orders (x int)")
	s.withTablespace()
	w := processWorld(t)
	v, facts, prepared := w.golden(s.backup(), nil)
	s.stop()
	c := w.clone(v, facts, prepared, func(r *database.StartRequest) { r.Prepared.Database = "shop" })
	c.target.Database = "shop"
	orders := c.file("shop", "'orders'::regclass")
	packed, doomed := c.file("shop", "'packed'::regclass"), c.file("shop", "'doomed'::regclass")
	c.sql("INSERT INTO orders (note) SELECT repeat('x', 10) FROM generate_series(1, 100)")
	c.sql("CREATE TABLE fresh (x int)")
	c.sql("VACUUM FULL packed")
	c.sql("DROP TABLE doomed")
	c.sql("DO $$ BEGIN EXECUTE 'CREATE TABLE fresh2 (x int)'; EXECUTE 'TRUNCATE fresh2'; END $$")
	toast := "(SELECT reltoastrelid FROM pg_class WHERE oid = 'orders'::regclass)"
	written := func(path string, bytes int64) database.File {
		return database.File{Path: path, Bytes: bytes, Size: 10 * bytes}
	}
	created := func(path string, bytes int64) database.File {
		f := written(path, bytes)
		f.Created = true
		return f
	}
	removed := func(path string) database.File { return database.File{Path: path, Removed: true} }
	data := v.DataDir
	closed := c.sql("SELECT oid FROM pg_database WHERE datname = 'closed'")[0][0]

	got := c.relations(
		// One relation of several files; that forks and segments come and go says nothing.
		written(orders, 1), created(orders+"_fsm", 2), created(orders+".1", 4), removed(orders+".2"),
		created(c.file("shop", "'orders_pkey'::regclass")+"_fsm", 8), // of itself, nothing
		written(c.file("shop", "'orders_id_seq'::regclass"), 16),
		written(c.file("shop", toast), 32), written(c.file("shop", "(SELECT indexrelid FROM pg_index WHERE indrelid = "+toast+")"), 64),
		written(c.file("shop", "'sums'::regclass"), 3), written(c.file("shop", `'"a b"."c.d"'::regclass`), 5),
		written(c.file("shop", "'far'::regclass"), 7),
		created(c.file("shop", "'fresh'::regclass"), 9), created(c.file("shop", "'fresh2'::regclass"), 11),
		created(c.file("shop", "'packed'::regclass"), 13), removed(packed),
		removed(doomed), removed(doomed+"_fsm"),
		written(c.file("shop", "'pg_class'::regclass"), 15), written(c.file("shop", "'pg_depend'::regclass"), 17),
		written(c.file("shop", "'information_schema.sql_features'::regclass"), 19),
		written(c.file("other", "'orders'::regclass"), 21), removed(filepath.Dir(c.file("other", "'orders'::regclass"))+"/99999"),
		written(c.file("shop", "'pg_database'::regclass"), 23), written(c.file("shop", "'pg_database_oid_index'::regclass"), 25),
		written(data+"/base/"+closed+"/1259", 27), // its catalogs can't be asked
		removed(data+"/base/99999/16384"),         // of a database that was dropped
		written(data+"/pg_wal/000000010000000000000001", 100), created(data+"/pg_wal/000000010000000000000002", 200),
		written(data+"/pg_xact/0000", 1000), written(data+"/base/1/99999999999999999999", 2000), written("nonsense\xff\n", 4000),
		written("pg_wal/1", 8000), // not the server's
	)
	r := func(db, kind, name string, bytes int64) database.Relation {
		return database.Relation{Database: db, Kind: kind, Name: name, Bytes: bytes, Size: 10 * bytes}
	}
	fresh := func(r database.Relation) database.Relation { r.Created = true; return r }
	gone := func(db string) database.Relation {
		return database.Relation{Database: db, Kind: "dropped", Removed: true}
	}
	want := []database.Relation{
		r("", "catalog", "pg_catalog.pg_database", 23),
		r("", "catalog", "pg_catalog.pg_database_oid_index", 25),
		gone(""),
		r("", "log", "", 300),
		r("", "other", "", 15000),
		r("closed", "other", "", 27),
		gone("other"),
		r("other", "table", "public.orders", 21),
		r("shop", "catalog", "information_schema.sql_features", 19),
		r("shop", "catalog", "pg_catalog.pg_class", 15),
		r("shop", "catalog", "pg_catalog.pg_depend", 17),
		gone("shop"),
		r("shop", "index", "public.orders_pkey", 8),
		r("shop", "sequence", "public.orders_id_seq", 16),
		r("shop", "table", "a b.c.d", 5),
		r("shop", "table", "public.far", 7),
		fresh(r("shop", "table", "public.fresh", 9)),
		fresh(r("shop", "table", "public.fresh2", 11)),
		r("shop", "table", "public.orders", 7),
		r("shop", "table", "public.packed", 13), // it was there under another number
		r("shop", "toast", "public.orders", 96),
		r("shop", "view", "public.sums", 3),
	}
	if !slices.Equal(got, want) {
		t.Errorf("relations:\n%+v\nwant:\n%+v", strings.ReplaceAll(fmt.Sprint(got), "} ", "}\n"), strings.ReplaceAll(fmt.Sprint(want), "} ", "}\n"))
	}
	if none := c.relations(); len(none) != 0 {
		t.Errorf("of no files: %+v", none)
	}

	// Each real file of the clone is one or the other, and what is a relation's is
	// all that the server counts.
	var all []database.File
	err := filepath.WalkDir(c.volume, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		rel, relErr := filepath.Rel(c.volume, path)
		all = append(all, database.File{Path: rel, Bytes: info.Size(), Size: info.Size()})
		return cmp.Or(err, relErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range c.relations(all...) {
		if r.Database == "shop" && r.Kind == "dropped" && r.Bytes > 0 {
			t.Errorf("of files that are there: %+v", r)
		}
		if r.Database == "shop" && r.Kind == "table" && r.Name == "public.far" {
			if size := c.sql("SELECT pg_table_size('far') - pg_total_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'far'::regclass")[0][0]; size != fmt.Sprint(r.Bytes) {
				t.Errorf("far has %d bytes, the server says %s", r.Bytes, size)
			}
		}
	}

	c.target.VolumePath = t.TempDir()
	if _, err := w.engine.Relations(t.Context(), c.target, nil); !errs.Is(err, errs.Unavailable) {
		t.Errorf("without a server: %v", err)
	}
}
