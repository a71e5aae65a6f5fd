package state

import (
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

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/cloned-db/cloned/errs"
)

// version is that of the file's layout. It grows with each change that an
// older cloned would misread.
const version = 2

// Buckets. Each holds records by their key: 4 bytes of CRC-32C (big endian),
// then JSON. Events are keyed by revision, 8 bytes big endian.
const (
	bucketMeta      = "meta" // "version" and "revision", in decimal
	bucketGoldens   = "goldens"
	bucketSnapshots = "snapshots"
	bucketClones    = "clones"
	bucketEvents    = "events"
	bucketTokens    = "tokens"
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
	// A damaged file makes bbolt panic, or read beyond the end of its mapping.
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
	_, statErr := os.Stat(path)
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: timeout, FreelistType: bbolt.FreelistMapType, NoStatistics: true})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, nil, errs.New(errs.Precondition, "STATE_IN_USE", "state %s: another cloned has it open", path).
			WithHint("stop the other daemon first, or give this one a state directory of its own")
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
		return nil, nil, errs.New(errs.Precondition, "STATE_UNREADABLE", "state %s: %w", path, err)
	case err != nil:
		return nil, nil, corrupt(path, err)
	}
	if os.IsNotExist(statErr) {
		if err := syncDir(filepath.Dir(path)); err != nil {
			return db, nil, err
		}
	}
	// A file that was there may have been made by hand with wider permissions.
	if err := os.Chmod(path, 0o600); err != nil {
		return db, nil, fmt.Errorf("state: %w", err)
	}
	if err := migrate(db, path); err != nil {
		return db, nil, err
	}
	if v, err = load(db); err != nil {
		return db, nil, corrupt(path, err)
	}
	// Last, for it takes for granted that every page can be reached.
	if err := check(db); err != nil {
		return db, nil, corrupt(path, err)
	}
	return db, v, nil
}

func corrupt(path string, err error) error {
	return errs.New(errs.Corrupt, "STATE_CORRUPT", "state %s is damaged: %w", path, err).
		WithHint("put a backup of it back; without one move it away and start with --adopt")
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// migrate makes the buckets of a new file and brings an older one up to date.
func migrate(db *bbolt.DB, path string) error {
	found, err := readVersion(db)
	if err != nil {
		return corrupt(path, err)
	}
	if found > version {
		return errs.New(errs.Precondition, "STATE_NEWER", "state %s has version %d, and this cloned knows versions up to %d", path, found, version).
			WithHint("run the newer cloned that wrote it, or put back a backup from before the upgrade")
	}
	if found == version {
		return nil
	}
	return db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{bucketMeta, bucketGoldens, bucketSnapshots, bucketClones, bucketEvents, bucketTokens} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return tx.Bucket([]byte(bucketMeta)).Put([]byte("version"), strconv.AppendInt(nil, version, 10))
	})
}

// readVersion returns 0 for a new file.
func readVersion(db *bbolt.DB) (found int, err error) {
	err = db.View(func(tx *bbolt.Tx) error {
		if size, need := fileSize(db), tx.Size(); size < need {
			return fmt.Errorf("the file has %d bytes instead of %d", size, need)
		}
		meta := tx.Bucket([]byte(bucketMeta))
		if meta == nil {
			if name, _ := tx.Cursor().First(); name != nil {
				return errors.New("it is not a state of cloned")
			}
			return nil
		}
		found, err = strconv.Atoi(string(meta.Get([]byte("version"))))
		return err
	})
	return found, err
}

// fileSize returns -1 if it can't be found out, which is less than any file needs.
func fileSize(db *bbolt.DB) int64 {
	info, err := os.Stat(db.Path())
	if err != nil {
		return -1
	}
	return info.Size()
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
		return errors.Join(
			loadBucket(tx, bucketGoldens, func(key string, g Golden) bool {
				v.goldens.Set(key, g)
				return key == g.Name
			}),
			loadBucket(tx, bucketSnapshots, func(key string, s Snapshot) bool {
				v.snapshots.Set(key, s)
				v.index(s)
				return key == s.ID
			}),
			loadBucket(tx, bucketClones, func(key string, c Clone) bool {
				v.clones.Set(key, c)
				v.add(c, ShareOf(c))
				if c.State == CloneDeleting {
					return key == c.ID
				}
				_, taken := v.names.Set(c.Name, c.ID)
				return key == c.ID && !taken
			}),
			loadBucket(tx, bucketEvents, func(key string, e Event) bool {
				v.events.Set(e.Revision, e)
				return key == string(eventKey(e.Revision))
			}),
			loadBucket(tx, bucketTokens, func(key string, t Token) bool {
				v.tokens.Set(key, t)
				return key == t.ID
			}),
		)
	})
	return v, err
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
			return fmt.Errorf("%s %q: the record is of another key, or its name is taken", bucket, key)
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
