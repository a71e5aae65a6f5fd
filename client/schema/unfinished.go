package schema

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/errs"
)

// CommittedSince says whether a transaction has been committed on one of the
// sides that was under way in the state which base is a copy of. A commit writes
// to no table: its rows may have been in the files already, and only become
// visible by it. errs.Unavailable if a database fails.
func CommittedSince(ctx context.Context, base *pgx.Conn, sides ...*pgx.Conn) (bool, error) {
	open, err := unfinished(ctx, base)
	if err != nil {
		return false, errs.New(errs.Unavailable, "DATA_UNREADABLE", "reading the status of transactions: %w", err)
	}
	for _, side := range sides {
		var committed bool
		err := side.QueryRow(ctx, `SELECT coalesce(bool_or(CASE WHEN x < pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
				THEN pg_catalog.pg_xact_status(x) = 'committed' END), false)
			FROM (SELECT n::text::pg_catalog.xid8 AS x FROM pg_catalog.unnest($1::bigint[]) n) xids`, open).Scan(&committed)
		if err != nil {
			return false, errs.New(errs.Unavailable, "DATA_UNREADABLE", "asking for the status of transactions: %w", err)
		}
		if committed {
			return true, nil
		}
	}
	return false, nil
}

// xidsPerSegment is how many transactions a file of pg_xact has, of two bits each.
const xidsPerSegment = 32 * 8192 * 4

// undecided says for a byte of pg_xact which of its four transactions have neither
// been committed nor aborted (access/clog.h): those under way, and
// subtransactions of such. After a crash, as which a copy begins, they stay so.
func undecided(b byte, slot int) bool {
	status := b >> (2 * slot) & 3
	return status == 0 || status == 3
}

// unfinished returns the transactions that are neither committed nor aborted.
func unfinished(ctx context.Context, conn *pgx.Conn) ([]int64, error) {
	// For the files have to say what there is; it is a copy, and has little to write.
	if _, err := conn.Exec(ctx, "CHECKPOINT"); err != nil {
		return nil, err
	}
	var next int64
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint").Scan(&next); err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, `SELECT name, pg_catalog.pg_read_binary_file('pg_xact/' || name)
		FROM pg_catalog.pg_ls_dir('pg_xact') name WHERE name ~ '^[0-9A-F]+$'`)
	if err != nil {
		return nil, err
	}
	open := []int64{}
	var name string
	var content []byte
	_, err = pgx.ForEachRow(rows, []any{&name, &content}, func() error {
		segment, err := strconv.ParseUint(name, 16, 32)
		if err != nil {
			return err
		}
		for i, b := range content {
			if b == 0x55 {
				continue // all four are committed, as nearly always
			}
			for slot := range 4 {
				if xid := wholeID(int64(segment)*xidsPerSegment+int64(i*4+slot), next); undecided(b, slot) && xid >= 0 {
					open = append(open, xid)
				}
			}
		}
		return nil
	})
	return open, err
}

// wholeID returns the transaction's ID with its epoch, as they are stored without
// one; next is the one after the last. It is -1 for what is no transaction of a
// user's, or none yet.
func wholeID(short, next int64) int64 {
	const firstNormal = 3 // FirstNormalTransactionId in access/transam.h
	id := next&^(1<<32-1) | short
	if id >= next {
		id -= 1 << 32
	}
	if short < firstNormal || id < 0 || next-id > 1<<31 {
		return -1
	}
	return id
}
