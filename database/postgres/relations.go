package postgres

import (
	"cmp"
	"context"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// Where relations are (chapter 73.1 of the manual, "Database File Layout"): in the
// data directory base/DATABASE/FILENODE and global/FILENODE, and in a tablespace,
// which may be anywhere on the volume, VERSION/DATABASE/FILENODE; each with forks
// and segments.
var (
	relationPath = regexp.MustCompile(`^(?:base/([0-9]+)|global)/([0-9]+)(?:_(?:fsm|vm|init))?(?:\.[0-9]+)?$`)
	spacePath    = regexp.MustCompile(`(?:^|/)PG_[0-9]+_[0-9]+/([0-9]+)/([0-9]+)(?:_(?:fsm|vm|init))?(?:\.[0-9]+)?$`)
)

// relationFile says of which relation a file is, by its path on a volume: the
// database's OID, 0 for what all share, and the filenode.
func relationFile(dataDir, file string) (db, node uint64, ok bool) {
	m := spacePath.FindStringSubmatch(file)
	if name, inside := inDataDir(dataDir, file); m == nil && inside {
		m = relationPath.FindStringSubmatch(name)
	}
	if m == nil {
		return 0, 0, false
	}
	db, err := strconv.ParseUint(cmp.Or(m[1], "0"), 10, 32)
	node, nodeErr := strconv.ParseUint(m[2], 10, 32)
	return db, node, err == nil && nodeErr == nil
}

func inDataDir(dataDir, file string) (name string, ok bool) {
	if dataDir = path.Clean(dataDir); dataDir == "." {
		return file, true
	}
	return strings.CutPrefix(file, dataDir+"/")
}

// inDatabase are the changes in a database by filenode.
type inDatabase map[uint64]*database.Relation

// Relations implements database.Engine.
func (*Engine) Relations(ctx context.Context, t database.Target, files []database.File) ([]database.Relation, error) {
	byDatabase, others := sortOut(t.DataDir, files)
	databases, err := askDatabases(ctx, t)
	if err != nil {
		return nil, err
	}
	var out []database.Relation
	for oid, list := range byDatabase {
		db := databases[oid]
		if db.open {
			if err := list.describe(ctx, t, db.name, oid == 0); err != nil {
				return nil, err
			}
		}
		if oid == 0 {
			db.name = ""
		}
		out = append(out, list.all(db)...)
	}
	for _, r := range others {
		out = append(out, *r)
	}
	return out, nil
}

// sortOut sums the files up by relation, and those that are of none by kind.
func sortOut(dataDir string, files []database.File) (byDatabase map[uint64]inDatabase, others map[string]*database.Relation) {
	byDatabase, others = map[uint64]inDatabase{}, map[string]*database.Relation{}
	for _, f := range files {
		var r *database.Relation
		if db, node, ok := relationFile(dataDir, f.Path); ok {
			if byDatabase[db] == nil {
				byDatabase[db] = inDatabase{}
			}
			if r = byDatabase[db][node]; r == nil {
				r = &database.Relation{}
				byDatabase[db][node] = r
			}
			// Other forks and segments come and go in the life of a relation.
			if path.Base(f.Path) == strconv.FormatUint(node, 10) {
				r.Created, r.Removed = f.Created, f.Removed
			}
		} else {
			kind := "other"
			if name, inside := inDataDir(dataDir, f.Path); inside && strings.HasPrefix(name, "pg_wal/") {
				kind = "log"
			}
			if r = others[kind]; r == nil {
				r = &database.Relation{Kind: kind}
				others[kind] = r
			}
		}
		r.Bytes, r.Size = r.Bytes+f.Bytes, r.Size+f.Size
	}
	return byDatabase, others
}

// all merges what is known of the filenodes. Those that no catalog knows are of
// relations that were dropped, or written anew under another number; unless it
// could not be asked.
func (list inDatabase) all(db catalog) []database.Relation {
	merged := map[string]*database.Relation{}
	for _, r := range list {
		switch {
		case r.Name != "":
			r.Removed = false
		case db.name != "" && !db.open:
			r.Kind, r.Created, r.Removed = "other", false, false
		default:
			r.Kind, r.Created = "dropped", false
		}
		r.Database = errs.Plain(db.name)
		key := r.Kind + " " + r.Name
		if have := merged[key]; have != nil {
			have.Bytes, have.Size = have.Bytes+r.Bytes, have.Size+r.Size
			have.Created, have.Removed = have.Created && r.Created, have.Removed && r.Removed
			continue
		}
		merged[key] = r
	}
	out := make([]database.Relation, 0, len(merged))
	for _, r := range merged {
		out = append(out, *r)
	}
	return out
}

// catalog is a database whose catalogs may be asked, if it is open.
type catalog struct {
	name string
	open bool
}

// askDatabases returns the databases by OID; what all share is seen from each.
func askDatabases(ctx context.Context, t database.Target) (map[uint64]catalog, error) {
	all := map[uint64]catalog{0: {name: databaseOf(t), open: true}}
	// A limit of -2 is that of one whose removal was interrupted.
	rows, err := ask(ctx, t, databaseOf(t), 3, "SELECT oid, datname, datallowconn AND datconnlimit <> -2 FROM pg_database")
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		oid, err := strconv.ParseUint(row[0], 10, 32)
		if err != nil {
			return nil, errs.New(errs.Precondition, "INSTANCE", "pg_database: %w", err)
		}
		all[oid] = catalog{name: row[1], open: row[2] == "t"}
	}
	return all, nil
}

// describe asks the database's catalog whose the filenodes are: those of the
// database itself, or those of what all share.
func (list inDatabase) describe(ctx context.Context, t database.Target, db string, shared bool) error {
	nodes := make([]string, 0, len(list))
	for node := range list {
		nodes = append(nodes, strconv.FormatUint(node, 10))
	}
	// relfilenode is 0 for the few catalogs that are mapped; only those are asked
	// one by one. A toast table is named after its table. A relation begins with a
	// filenode that is its OID, and gets another when all of it is written anew.
	rows, err := ask(ctx, t, db, 4, `WITH r AS (
		SELECT oid, CASE relfilenode WHEN 0 THEN pg_relation_filenode(oid) ELSE relfilenode END AS node, relname, relnamespace, relkind FROM pg_class
		WHERE relisshared = `+strconv.FormatBool(shared)+` AND relkind IN ('r', 'i', 't', 'm', 'S') AND (relfilenode = 0 OR relfilenode IN (`+strings.Join(nodes, ",")+`)))
		SELECT r.node, coalesce(n.nspname || '.' || o.relname, x.nspname || '.' || r.relname),
			CASE WHEN coalesce(n.nspname, x.nspname) IN ('pg_catalog', 'information_schema') THEN 'catalog' WHEN o.oid IS NOT NULL THEN 'toast'
				ELSE CASE r.relkind WHEN 'r' THEN 'table' WHEN 'i' THEN 'index' WHEN 'm' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'toast' END END,
			r.node = r.oid
		FROM r JOIN pg_namespace x ON x.oid = r.relnamespace
		LEFT JOIN pg_index ti ON ti.indexrelid = r.oid AND x.nspname = 'pg_toast'
		LEFT JOIN pg_class o ON o.reltoastrelid = coalesce(ti.indrelid, r.oid) AND o.reltoastrelid <> 0
		LEFT JOIN pg_namespace n ON n.oid = o.relnamespace
		WHERE r.node IN (`+strings.Join(nodes, ",")+`)`)
	if err != nil {
		return err
	}
	for _, row := range rows {
		node, err := strconv.ParseUint(row[0], 10, 32)
		if err != nil {
			return errs.New(errs.Precondition, "INSTANCE", "pg_class: %w", err)
		}
		if r := list[node]; r != nil {
			r.Name, r.Kind, r.Created = errs.Plain(row[1]), errs.Plain(row[2]), r.Created && row[3] == "t"
		}
	}
	return nil
}

// ask runs a query in a database, through the admin socket.
func ask(ctx context.Context, t database.Target, db string, columns int, sql string) ([][]string, error) {
	conn, err := connectAdmin(ctx, t, db, longAnswers)
	if err != nil {
		return nil, instanceError("connecting to database "+db, err)
	}
	defer closeConn(ctx, conn)
	rows, err := query(ctx, conn, columns, sql)
	if err != nil {
		return nil, instanceError("asking the catalog of database "+db, err)
	}
	return rows, nil
}
