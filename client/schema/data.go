package schema

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/errs"
)

// TableData is how the rows of a table differ, by primary key.
type TableData struct {
	Table   string `json:"table"`
	Added   int64  `json:"added"`
	Changed int64  `json:"changed"`
	Removed int64  `json:"removed"`
	// Read says that its rows were compared: those of a table that nobody wrote to
	// need not be.
	Read bool `json:"read"`
	// Note says why the table was not compared.
	Note string `json:"note,omitempty"`
}

// Same says that nothing differs.
func (d TableData) Same() bool { return d.Added+d.Changed+d.Removed == 0 && d.Note == "" }

// DiffData compares the rows of tables, or of all for nil, from a to b: what is
// in b only was added. It reads each table once on either side, in the order of
// the key, and keeps none of it. With written, SCHEMA.TABLE without quotes, the
// rows of all others are known to be alike, and are not read. A table without a primary key, or that is not
// alike on both sides, is not compared, and says so. errs.Unavailable if a
// database fails.
func DiffData(ctx context.Context, a, b *pgx.Conn, tables, written []string) ([]TableData, error) {
	left, err := keyed(ctx, a)
	if err != nil {
		return nil, err
	}
	right, err := keyed(ctx, b)
	if err != nil {
		return nil, err
	}
	var out []TableData
	for name, t := range left {
		other, both := right[name]
		d := TableData{Table: name}
		switch {
		case tables != nil && !slices.Contains(tables, name):
			continue
		case !both:
			d.Note = "is not on the other side"
		case t.key == "":
			d.Note = "has no primary key"
		case t != other:
			d.Note = "has other columns or another key on the other side"
		case written != nil && !slices.Contains(written, t.plain):
		default:
			d.Read = true
			if d.Added, d.Changed, d.Removed, err = diffRows(ctx, a, b, name, t.key); err != nil {
				return nil, errs.New(errs.Unavailable, "DATA_UNREADABLE", "comparing %s: %w", name, err)
			}
		}
		out = append(out, d)
	}
	for name := range right {
		if _, both := left[name]; !both && (tables == nil || slices.Contains(tables, name)) {
			out = append(out, TableData{Table: name, Note: "is only on the other side"})
		}
	}
	slices.SortFunc(out, func(x, y TableData) int { return strings.Compare(x.Table, y.Table) })
	return out, nil
}

// table is what of a table has to be alike.
type table struct{ plain, key, columns string }

// keyed returns the tables with rows of their own. A key is an array of text that
// sorts the same in any database, by bytes.
func keyed(ctx context.Context, conn *pgx.Conn) (map[string]table, error) {
	rows, err := conn.Query(ctx, common+`SELECT rel.name, (SELECT nspname FROM ns WHERE ns.oid = relnamespace) || '.' || relname,
		(SELECT 'ARRAY[' || string_agg(format('%I::text COLLATE "C"', attname), ', ' ORDER BY k.n) || ']'
			FROM pg_catalog.pg_index i, unnest(i.indkey) WITH ORDINALITY k(att, n)
			JOIN pg_catalog.pg_attribute ON attnum = k.att WHERE i.indrelid = rel.oid AND attrelid = rel.oid AND i.indisprimary),
		(SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attname)
			FROM pg_catalog.pg_attribute WHERE attrelid = rel.oid AND attnum > 0 AND NOT attisdropped)
		FROM rel WHERE relkind = 'r'`)
	if err != nil {
		return nil, errs.New(errs.Unavailable, "DATA_UNREADABLE", "listing tables: %w", err)
	}
	out := map[string]table{}
	var name, plain string
	var key, columns *string
	_, err = pgx.ForEachRow(rows, []any{&name, &plain, &key, &columns}, func() error {
		t := table{plain: plain}
		if key != nil {
			t.key = *key
		}
		if columns != nil {
			t.columns = *columns
		}
		out[name] = t
		return nil
	})
	if err != nil {
		return nil, errs.New(errs.Unavailable, "DATA_UNREADABLE", "listing tables: %w", err)
	}
	return out, nil
}

// side reads the rows of one side: key and digest.
type side struct {
	rows      pgx.Rows
	key, hash []byte
	done      bool
}

func open(ctx context.Context, conn *pgx.Conn, name, key string) (*side, error) {
	// jsonb sorts its keys, so that the order of columns does not count; the key
	// as jsonb text sorts by bytes.
	rows, err := conn.Query(ctx, fmt.Sprintf(
		`SELECT to_jsonb(%s)::text COLLATE "C", md5(to_jsonb(t)::text) FROM ONLY %s t ORDER BY 1`, key, name))
	if err != nil {
		return nil, err
	}
	s := &side{rows: rows}
	return s, s.next()
}

func (s *side) next() error {
	if !s.rows.Next() {
		s.done = true
		return s.rows.Err()
	}
	var key, hash string
	if err := s.rows.Scan(&key, &hash); err != nil {
		return err
	}
	s.key, s.hash = []byte(key), []byte(hash)
	return nil
}

// diffRows merges two sorted sides.
func diffRows(ctx context.Context, a, b *pgx.Conn, name, key string) (added, changed, removed int64, err error) {
	l, err := open(ctx, a, name, key)
	if err != nil {
		return 0, 0, 0, err
	}
	defer l.rows.Close()
	r, err := open(ctx, b, name, key)
	if err != nil {
		return 0, 0, 0, err
	}
	defer r.rows.Close()
	for err == nil && !(l.done && r.done) {
		order := bytes.Compare(l.key, r.key)
		switch {
		case l.done || !r.done && order > 0:
			added++
			err = r.next()
		case r.done || order < 0:
			removed++
			err = l.next()
		default:
			if !bytes.Equal(l.hash, r.hash) {
				changed++
			}
			if err = l.next(); err == nil {
				err = r.next()
			}
		}
	}
	return added, changed, removed, err
}
