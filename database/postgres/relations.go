package postgres

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// Where relations are, in the data directory (storage/file layout, chapter 73.1
// of the manual): base/DATABASE/FILENODE, global/FILENODE, and in tablespaces
// pg_tblspc/OID/VERSION/DATABASE/FILENODE; each with forks and segments.
var relationPath = regexp.MustCompile(`^(?:base/([0-9]+)|global|pg_tblspc/[0-9]+/PG_[0-9_]+/([0-9]+))/([0-9]+)(?:_(?:fsm|vm|init))?(?:\.[0-9]+)?$`)

// inDatabase is a database by OID, 0 for what all share, with the changes by
// filenode.
type inDatabase map[uint64]*database.Relation

// Relations implements database.Engine.
func (*Engine) Relations(ctx context.Context, t database.Target, files []database.File) ([]database.Relation, error) {
	byDatabase := map[uint64]inDatabase{}
	others := map[string]*database.Relation{}
	for _, f := range files {
		name, inside := strings.CutPrefix(f.Path, path.Clean(t.DataDir)+"/")
		m := relationPath.FindStringSubmatch(name)
		if !inside || m == nil {
			kind := "other"
			if strings.HasPrefix(name, "pg_wal/") {
				kind = "log"
			}
			if others[kind] == nil {
				others[kind] = &database.Relation{Kind: kind}
			}
			others[kind].Bytes, others[kind].Size = others[kind].Bytes+f.Bytes, others[kind].Size+f.Size
			continue
		}
		db, _ := strconv.ParseUint(m[1]+m[2], 10, 32) // "" is 0: shared
		node, err := strconv.ParseUint(m[3], 10, 32)
		if err != nil {
			return nil, errs.New(errs.Internal, "FILE", "%s: %w", f.Path, err)
		}
		if byDatabase[db] == nil {
			byDatabase[db] = inDatabase{}
		}
		r := byDatabase[db][node]
		if r == nil {
			r = &database.Relation{Created: true, Removed: true}
			byDatabase[db][node] = r
		}
		// Of a relation that grew a segment came; it is new if all of it is.
		r.Bytes, r.Size, r.Created, r.Removed = r.Bytes+f.Bytes, r.Size+f.Size, r.Created && f.Created, r.Removed && f.Removed
	}
	names, err := databaseNames(ctx, t)
	if err != nil {
		return nil, err
	}
	var out []database.Relation
	for oid, list := range byDatabase {
		name := names[oid]
		if oid == 0 {
			name = "postgres" // from each database what all share is seen
		}
		if name != "" {
			if err := list.describe(ctx, t, name); err != nil {
				return nil, err
			}
		}
		out = append(out, list.all(names[oid])...)
	}
	for _, r := range others {
		out = append(out, *r)
	}
	return out, nil
}

// all merges what is known of the filenodes; those that no catalog knows are of
// relations that were dropped or written anew.
func (list inDatabase) all(db string) []database.Relation {
	merged := map[string]*database.Relation{}
	for _, r := range list {
		if r.Name == "" {
			r.Kind, r.Created = "dropped", false
		}
		r.Database = db
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

// databaseNames returns the databases that can be connected to, by OID.
func databaseNames(ctx context.Context, t database.Target) (map[uint64]string, error) {
	names := map[uint64]string{}
	rows, err := ask(ctx, t, "postgres", "SELECT oid, datname FROM pg_database WHERE datallowconn")
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		oid, err := strconv.ParseUint(row[0], 10, 32)
		if err != nil {
			return nil, errs.New(errs.Internal, "CATALOG", "pg_database: %w", err)
		}
		names[oid] = row[1]
	}
	return names, nil
}

// describe asks the database's catalog whose the filenodes are.
func (list inDatabase) describe(ctx context.Context, t database.Target, db string) error {
	nodes := make([]string, 0, len(list))
	for node := range list {
		nodes = append(nodes, strconv.FormatUint(node, 10))
	}
	// relfilenode is 0 for the few catalogs that are mapped; only those are asked
	// one by one. A toast table is named after its table.
	rows, err := ask(ctx, t, db, `WITH r AS (
		SELECT oid, CASE relfilenode WHEN 0 THEN pg_relation_filenode(oid) ELSE relfilenode END AS node, relname, relnamespace, relkind FROM pg_class
		WHERE relkind IN ('r', 'i', 't', 'm', 'S') AND (relfilenode = 0 OR relfilenode IN (`+strings.Join(nodes, ",")+`)))
		SELECT r.node, coalesce(n.nspname || '.' || o.relname, x.nspname || '.' || r.relname),
			CASE WHEN coalesce(n.nspname, x.nspname) = 'pg_catalog' THEN 'catalog' WHEN o.oid IS NOT NULL THEN 'toast'
				ELSE CASE r.relkind WHEN 'r' THEN 'table' WHEN 'i' THEN 'index' WHEN 'm' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'toast' END END
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
			return errs.New(errs.Internal, "CATALOG", "pg_class: %w", err)
		}
		if r := list[node]; r != nil {
			r.Name, r.Kind = row[1], row[2]
		}
	}
	return nil
}

// ask runs a query in a database, through the admin socket.
func ask(ctx context.Context, t database.Target, db, sql string) ([][]string, error) {
	conn, err := connectAdmin(ctx, t.VolumePath, t.Port, role, db, calm())
	if err != nil {
		return nil, errs.New(errs.Unavailable, "ADMIN", "database %s: %w", db, err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) // a session that is lost is no loss
	rows, err := query(ctx, conn, sql)
	if err != nil {
		return nil, errs.New(errs.Unavailable, "ADMIN", "database %s: %w", db, fmt.Errorf("asking its catalog: %w", err))
	}
	return rows, nil
}
