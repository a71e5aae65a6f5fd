package postgres

import (
	"context"
	"encoding/json"
	"os"
	"path"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/database"
)

const (
	// readAheadFile says for each database which files a session reads when it
	// begins: below ownDir, written by Prepare.
	readAheadFile = "readahead.json"
	// readAheadBytes is how much of each: the catalogs of an old database are
	// large, and what a session reads of them was written first.
	readAheadBytes = 256 << 10
)

// atSessionStart are the files of the catalogs, and of their indexes, that the
// first session of a server reads, as pg_buffercache shows.
const atSessionStart = `WITH catalog AS (SELECT oid FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relname IN (
		'pg_aggregate', 'pg_am', 'pg_amop', 'pg_amproc', 'pg_attribute', 'pg_cast', 'pg_class', 'pg_index', 'pg_namespace',
		'pg_opclass', 'pg_operator', 'pg_proc', 'pg_rewrite', 'pg_statistic', 'pg_type'))
	SELECT pg_relation_filepath(oid) FROM catalog
	UNION ALL SELECT pg_relation_filepath(indexrelid) FROM pg_index JOIN catalog ON indrelid = catalog.oid`

// noteReadAhead notes what sessions of a database read first.
func (p *preparation) noteReadAhead(ctx context.Context, conn *pgconn.PgConn, db string) error {
	rows, err := query(ctx, conn, 1, atSessionStart)
	if err != nil {
		return sqlError("looking for the catalogs' files", err)
	}
	for _, row := range rows {
		p.readAhead[db] = append(p.readAhead[db], row[0])
	}
	return nil
}

// writeReadAhead leaves the notes on the volume.
func (p *preparation) writeReadAhead(volume *os.Root) error {
	content, err := json.Marshal(p.readAhead)
	if err != nil {
		return err
	}
	return writeFile(volume, path.Join(ownDir, readAheadFile), string(content), p.req.Facts.Owner)
}

// ReadAhead implements database.Engine. On filesystems whose clones share no
// cache with their origin (btrfs, XFS) a first session reads some 200 pages from
// the pool, one after the other, which takes it longer than all else it does.
// Whatever does not work is left to the server. The clone's user may have changed
// the notes: no link is followed out of the volume, and nothing is waited for.
func (*Engine) ReadAhead(t database.Target) {
	volume, err := os.OpenRoot(t.VolumePath)
	if err != nil {
		return
	}
	defer volume.Close()
	content, err := readFile(volume, path.Join(ownDir, readAheadFile), maxConf)
	if err != nil {
		return
	}
	var notes map[string][]string
	if json.Unmarshal(content, &notes) != nil {
		return
	}
	files := notes[databaseOf(t)]
	for _, name := range files[:min(len(files), 100)] {
		f, err := volume.OpenFile(path.Join(t.DataDir, name), os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		_ = unix.Fadvise(int(f.Fd()), 0, readAheadBytes, unix.FADV_WILLNEED)
		f.Close()
	}
}
