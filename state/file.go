package state

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gofrs/flock"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/durable"
)

// version is that of the file's layout. It grows with each change that an
// older cloned would misread.
const version = 2

// Buckets. Each holds records by their key: 4 bytes of CRC-32C (big endian),
// then JSON. Events are keyed by revision, 8 bytes big endian.
const (
	bucketMeta      = "meta" // "version" and "revision", in decimal; "counts", "clock" and "restored", sealed
	bucketGoldens   = "goldens"
	bucketSnapshots = "snapshots"
	bucketClones    = "clones"
	bucketEvents    = "events"
	bucketTokens    = "tokens"
	keyClock        = "clock"
	keyRestored     = "restored" // see View.Restored
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal puts a checksum before a record, so that a flipped bit is noticed.
func seal(raw []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, crc32.Checksum(raw, castagnoli)), raw...)
}

// unseal decodes what seal made.
func unseal(sealed []byte, record any) error {
	if len(sealed) < 4 || binary.BigEndian.Uint32(sealed) != crc32.Checksum(sealed[4:], castagnoli) {
		return errors.New("checksum does not match")
	}
	return json.Unmarshal(sealed[4:], record)
}

// openFile opens or makes the database file and reads all of it.
func openFile(path string, timeout time.Duration) (db *bbolt.DB, v *View, err error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := makeFile(path); err != nil {
			return nil, nil, err
		}
	}
	if db, v, err = readFile(path, bbolt.Options{Timeout: timeout}); err != nil {
		return nil, nil, err
	}
	// A file that was there may have been made by hand with wider permissions.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, nil, errors.Join(unreadable(path, err), db.Close())
	}
	return db, v, nil
}

// Check looks at every page and record of the state at the path and changes
// nothing. Errors are those of Open; a state that is not there is
// STATE_UNREADABLE. A state that a daemon has open is STATE_IN_USE.
func Check(path string) error {
	db, _, err := readFile(path, bbolt.Options{Timeout: defaultTimeout, ReadOnly: true})
	if err != nil {
		return err
	}
	return db.Close()
}

// makeFile makes a new file under another name first: one that has the name of a
// state is a whole one, so that an empty one can be nothing but a damaged one.
func makeFile(path string) (err error) {
	unfinished := path + ".new"
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, os.ErrNotExist) {
		return unreadable(path, err)
	}
	db, err := bbolt.Open(unfinished, 0o600, &bbolt.Options{})
	if err != nil {
		return unreadable(path, err)
	}
	if err := errors.Join(bringUp(db), db.Close()); err != nil {
		return unreadable(path, err)
	}
	if err := os.Rename(unfinished, path); err != nil {
		return unreadable(path, err)
	}
	return durable.SyncDir(filepath.Dir(path))
}

// bringUp makes a new file a state, and an older one up to date.
func bringUp(db *bbolt.DB) error {
	return db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{bucketMeta, bucketGoldens, bucketSnapshots, bucketClones, bucketEvents, bucketTokens} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return tx.Bucket([]byte(bucketMeta)).Put([]byte("version"), strconv.AppendInt(nil, version, 10))
	})
}

// readFile opens a file that is there and reads all of it. One that is older, and
// whole, is then brought up to date, unless it is only to be read.
func readFile(path string, o bbolt.Options) (db *bbolt.DB, v *View, err error) {
	if err := examine(path, o.Timeout); err != nil {
		return nil, nil, err
	}
	// Pages that can be reached are not always what bbolt takes for granted.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = corrupt(path, fmt.Errorf("%v", r))
		}
		if err != nil && db != nil {
			err = errors.Join(err, db.Close())
			db = nil
		}
	}()
	o.FreelistType, o.NoStatistics = bbolt.FreelistMapType, true
	db, err = bbolt.Open(path, 0o600, &o)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, nil, inUse(path)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
		return nil, nil, unreadable(path, err)
	case err != nil:
		return nil, nil, corrupt(path, err)
	}
	found, err := checkVersion(db, path)
	if err != nil {
		return db, nil, err
	}
	if v, err = load(db); err == nil {
		err = check(db)
	}
	if err != nil {
		return db, nil, corrupt(path, err)
	}
	if found < version && !o.ReadOnly {
		if err := bringUp(db); err != nil {
			return db, nil, unreadable(path, err)
		}
	}
	return db, v, nil
}

// examine looks at the file's pages, once no other process can change them.
func examine(path string, timeout time.Duration) (err error) {
	lock := flock.New(path, flock.SetFlag(os.O_RDONLY))
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	locked, err := lock.TryRLockContext(ctx, lockPoll)
	if errors.Is(err, context.DeadlineExceeded) || err == nil && !locked {
		return inUse(path)
	}
	if err != nil {
		return unreadable(path, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	raw, err := os.ReadFile(path)
	if err != nil {
		return unreadable(path, err)
	}
	if err := checkPages(raw); err != nil {
		return corrupt(path, err)
	}
	return nil
}

// lockPoll is between two looks whether another process has let go of the file.
const lockPoll = 10 * time.Millisecond

func inUse(path string) error {
	return errs.New(errs.Precondition, "STATE_IN_USE", "state %s: another cloned has it open", path).
		WithHint("stop the other daemon first, or give this one a state directory of its own")
}

func unreadable(path string, err error) error {
	return errs.New(errs.Precondition, "STATE_UNREADABLE", "state %s: %w", path, err)
}

func corrupt(path string, err error) error {
	return errs.New(errs.Corrupt, "STATE_CORRUPT", "state %s is damaged: %w", path, err).
		WithHint("put a backup of it back; without one move it away and start with --adopt")
}

// checkVersion returns the file's version, and refuses what a newer cloned wrote.
func checkVersion(db *bbolt.DB, path string) (found int, err error) {
	found, err = readVersion(db)
	if err != nil {
		return 0, corrupt(path, err)
	}
	if found > version {
		return 0, errs.New(errs.Precondition, "STATE_NEWER", "state %s has version %d, and this cloned knows versions up to %d", path, found, version).
			WithHint("run the newer cloned that wrote it, or put back a backup from before the upgrade")
	}
	return found, nil
}

func readVersion(db *bbolt.DB) (found int, err error) {
	err = db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket([]byte(bucketMeta))
		if meta == nil {
			return errors.New("it is not a state of cloned")
		}
		if found, err = strconv.Atoi(string(meta.Get([]byte("version")))); err == nil && found < 1 {
			err = fmt.Errorf("it has version %d", found)
		}
		return err
	})
	return found, err
}

// counts is how many records there are, by bucket. bbolt does not notice when a
// page has fewer than were written to it.
type counts struct {
	// Revision is that of the state that was counted: an older cloned leaves the
	// counts as they are.
	Revision                                   uint64
	Goldens, Snapshots, Clones, Events, Tokens int
}

func count(v *View) counts {
	return counts{v.revision, v.goldens.Len(), v.snapshots.Len(), v.clones.Len(), v.events.Len(), v.tokens.Len()}
}

// checkCounts compares what was read with what was written.
func checkCounts(meta *bbolt.Bucket, v *View) error {
	sealed := meta.Get([]byte("counts"))
	if sealed == nil {
		return nil
	}
	var wrote counts
	if err := unseal(sealed, &wrote); err != nil {
		return fmt.Errorf("counts: %w", err)
	}
	if read := count(v); wrote.Revision == v.revision && read != wrote {
		return fmt.Errorf("it has these records: %+v; and had these: %+v", read, wrote)
	}
	return nil
}

// load reads the whole file into memory.
func load(db *bbolt.DB) (*View, error) {
	v := newView()
	err := db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket([]byte(bucketMeta))
		if raw := meta.Get([]byte("revision")); raw != nil {
			n, err := strconv.ParseUint(string(raw), 10, 64)
			if err != nil {
				return err
			}
			v.revision = n
		}
		if sealed := meta.Get([]byte(keyClock)); sealed != nil {
			if err := unseal(sealed, &v.clock); err != nil {
				return fmt.Errorf("clock: %w", err)
			}
		}
		if sealed := meta.Get([]byte(keyRestored)); sealed != nil {
			if err := unseal(sealed, &v.restored); err != nil {
				return fmt.Errorf("restored: %w", err)
			}
		}
		err := errors.Join(
			loadBucket(tx, bucketGoldens, func(key string, g Golden) bool {
				v.goldens.Set(key, g)
				return key == g.Name && g.Revision <= v.revision
			}),
			loadBucket(tx, bucketSnapshots, func(key string, s Snapshot) bool {
				v.snapshots.Set(key, s)
				v.index(s)
				return key == s.ID && s.Revision <= v.revision
			}),
			loadBucket(tx, bucketClones, func(key string, c Clone) bool {
				v.clones.Set(key, c)
				v.add(c, ShareOf(c))
				if c.State == CloneDeleting {
					return key == c.ID && c.Revision <= v.revision
				}
				_, taken := v.names.Set(c.Name, c.ID)
				return key == c.ID && !taken && c.Revision <= v.revision
			}),
			loadBucket(tx, bucketEvents, func(key string, e Event) bool {
				v.events.Set(e.Revision, e)
				return key == string(eventKey(e.Revision)) && e.Revision <= v.revision
			}),
			loadTokens(tx, v),
		)
		if err == nil { // else some are missing of course
			err = checkCounts(meta, v)
		}
		return err
	})
	return v, err
}

// loadTokens reads the tokens; before version 2 there were none.
func loadTokens(tx *bbolt.Tx, v *View) error {
	if string(tx.Bucket([]byte(bucketMeta)).Get([]byte("version"))) == "1" {
		return nil
	}
	return loadBucket(tx, bucketTokens, func(key string, t Token) bool {
		v.tokens.Set(key, t)
		return key == t.ID && t.Revision <= v.revision
	})
}

// loadBucket gives each record to add, which says whether it is what its key says.
func loadBucket[T any](tx *bbolt.Tx, bucket string, add func(key string, record T) bool) error {
	b := tx.Bucket([]byte(bucket))
	if b == nil {
		return fmt.Errorf("there is no bucket %s", bucket)
	}
	return b.ForEach(func(key, sealed []byte) error {
		var record T
		if err := unseal(sealed, &record); err != nil {
			return fmt.Errorf("%s %q: %w", bucket, key, err)
		}
		if !add(string(key), record) {
			return fmt.Errorf("%s %q: the record is of another key or newer than the state, or its name is taken", bucket, key)
		}
		return nil
	})
}

// check looks at what no record shows: the pages' order and the free ones.
func check(db *bbolt.DB) error {
	return db.View(func(tx *bbolt.Tx) error {
		var all []error
		for err := range tx.Check() {
			all = append(all, err)
		}
		return errors.Join(all...)
	})
}
