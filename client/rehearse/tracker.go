package rehearse

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxLocks bounds the locks that a report has, and so what a watcher of a long
// command keeps in memory.
const maxLocks = 1000

// lockKey is a lock of one transaction. A virtual transaction's number is used
// again only by a later server.
type lockKey struct {
	vxid          string
	database, rel uint32
	mode          string
}

// seen is a row of a sample.
type seen struct {
	lockKey
	granted          bool
	datname, running string
}

// place is a database.
type place struct {
	oid  uint32
	name string
}

// standing says what is known of a lock's relation.
type standing int

const (
	unknown standing = iota
	named
	// private: nobody else can run into the lock.
	private
)

// entry is a lock that is followed from sample to sample.
type entry struct {
	lockKey
	Lock
	granted  bool
	standing standing
	// at is the last sample that had it.
	at int
}

// tracker merges samples into locks. It is safe for concurrent use: names come
// from elsewhere, while samples go on.
type tracker struct {
	mu      sync.Mutex
	names   catalog
	live    map[lockKey]*entry
	weak    map[lockKey]int
	done    []*entry
	last    time.Duration
	samples int

	weakCount, privateCount, omitted int
}

func newTracker(names catalog) *tracker {
	return &tracker{names: names, live: map[lockKey]*entry{}, weak: map[lockKey]int{}}
}

// sample takes the rows of one sample, made at an offset from the start. It
// returns the relations whose names are not known.
func (t *tracker) sample(at time.Duration, rows []seen) (nameless map[place][]uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.samples++
	// Until it is known to have changed, a lock was as the sample before saw it.
	for _, e := range t.live {
		if e.granted {
			e.Held.Duration += at - t.last
		} else {
			e.Waited.Duration += at - t.last
		}
	}
	t.last = at
	for _, row := range rows {
		row.mode = strings.TrimSuffix(row.mode, "Lock")
		if weak(row.mode) {
			if t.weak[row.lockKey] == 0 {
				t.weakCount++
			}
			t.weak[row.lockKey] = t.samples
			continue
		}
		e := t.live[row.lockKey]
		if e == nil {
			e = t.begin(at, row)
			// A prepared transaction in a new database has no session to tell its name.
			if e.standing == unknown && e.Database != "" {
				if nameless == nil {
					nameless = map[place][]uint32{}
				}
				in := place{row.database, e.Database}
				nameless[in] = append(nameless[in], row.rel)
			}
		}
		e.granted, e.at = row.granted, t.samples
	}
	for key, at := range t.weak {
		if at != t.samples {
			delete(t.weak, key)
		}
	}
	for key, e := range t.live {
		if e.at != t.samples {
			delete(t.live, key)
			t.finish(e)
		}
	}
	return nameless
}

// begin starts to follow a lock.
func (t *tracker) begin(at time.Duration, row seen) *entry {
	e := &entry{lockKey: row.lockKey, Lock: Lock{
		Statement: tidy(row.running), Mode: row.mode, Database: row.datname, FirstSeen: Duration{at},
		BlocksReads: blocksReads(row.mode), BlocksWrites: blocksWrites(row.mode),
	}}
	if db := t.names[row.database]; db != nil {
		if e.Database == "" {
			e.Database = db.name
		}
		if rel, known := db.rels[row.rel]; known {
			e.name(rel)
		}
	}
	t.live[row.lockKey] = e
	return e
}

func (e *entry) name(rel relation) {
	e.Table, e.standing = rel.name, named
	if rel.private {
		e.standing = private
	}
}

// finish keeps a lock that is gone, unless there are many more dangerous ones.
func (t *tracker) finish(e *entry) {
	if e.standing == private {
		t.privateCount++
		return
	}
	t.done = append(t.done, e)
	if len(t.done) >= 2*maxLocks {
		t.prune()
	}
}

func (t *tracker) prune() {
	slices.SortStableFunc(t.done, func(a, b *entry) int { return byDanger(a.Lock, b.Lock) })
	if more := len(t.done) - maxLocks; more > 0 {
		t.omitted += more
		t.done = slices.Delete(t.done, maxLocks, len(t.done))
	}
}

// learn takes what a reading of a database's catalogs found of relations that
// were asked for. One that it did not find is not committed yet, so that only
// the transaction that makes it can know of it; one that is gone again was made
// and dropped while we watched.
func (t *tracker) learn(in place, asked []uint32, found map[uint32]relation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	db := t.names[in.oid]
	if db == nil {
		db = &database{name: in.name, rels: map[uint32]relation{}}
		t.names[in.oid] = db
	}
	maps.Copy(db.rels, found)
	apply := func(e *entry) {
		if e.standing != unknown || e.database != in.oid || !slices.Contains(asked, e.rel) {
			return
		}
		if rel, ok := found[e.rel]; ok {
			e.name(rel)
		} else {
			e.standing = private
		}
	}
	for _, e := range t.live {
		apply(e)
	}
	t.done = slices.DeleteFunc(t.done, func(e *entry) bool {
		apply(e)
		if e.standing == private {
			t.privateCount++
		}
		return e.standing == private
	})
}

// locks ends the tracking and fills in the report. Names that nobody could look
// up are taken from the reading of the catalogs after the command.
func (t *tracker) locks(r *Report, after catalog) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.live {
		t.finish(e)
	}
	clear(t.live)
	t.prune()
	for _, e := range t.done {
		if e.standing == unknown {
			e.Table = fmt.Sprintf("oid %d", e.rel)
			if db := after[e.database]; db != nil {
				e.Database, e.Table = db.name, cmp.Or(db.rels[e.rel].name, e.Table)
			}
		}
		r.Locks = append(r.Locks, e.Lock)
	}
	r.WeakLocks, r.PrivateLocks, r.LocksOmitted = t.weakCount, t.privateCount, t.omitted
}
