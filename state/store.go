package state

import (
	"encoding/json"
	"errors"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cloned-db/cloned/errs"
)

// Options of Open.
type Options struct {
	// Timeout is how long to wait for another process to let go of the file; 0 for 1 s.
	Timeout time.Duration
}

const defaultTimeout = time.Second

// Store is the state on disk and in memory, which change together or not at
// all. Changes run one after another, and those that wait at the same time
// share one write to disk.
type Store struct {
	db      *bbolt.DB
	view    atomic.Pointer[View]
	changes chan *change
	ended   chan struct{}

	mu      sync.Mutex
	closed  bool
	senders sync.WaitGroup
	changed chan struct{} // closed, and replaced, by each commit
}

// change is one call of Update, or of UpdateSoon.
type change struct {
	fn   func(*Tx) error
	err  error
	done chan struct{}
	// written, for UpdateSoon, takes what became of the writing.
	written chan error
}

// batchMax bounds how many changes share a write.
const batchMax = 128

// Open opens or makes the store at the path. Errors: errs.Precondition with
// reason STATE_IN_USE (another process has it open), STATE_NEWER (a newer
// cloned wrote it) or STATE_UNREADABLE; errs.Corrupt (STATE_CORRUPT) for a
// damaged file, which is left as it is.
func Open(path string, o Options) (*Store, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	db, view, err := openFile(path, o.Timeout)
	if err != nil {
		return nil, err
	}
	s := &Store{
		db: db, changes: make(chan *change, batchMax),
		ended: make(chan struct{}), changed: make(chan struct{}),
	}
	s.view.Store(view)
	go s.write()
	return s, nil
}

// Close waits for the changes under way and lets go of the file. Later changes
// fail; views stay readable.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.senders.Wait()
	close(s.changes)
	<-s.ended
	return s.db.Close()
}

// View returns the present state.
func (s *Store) View() *View { return s.view.Load() }

// Changed returns a channel that is closed by the next change.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Update runs fn on the present state and returns when its changes are on disk.
// If fn or the writing fails, nothing has changed. fn must touch nothing but
// the transaction, and not wait for anything.
func (s *Store) Update(fn func(*Tx) error) error { return s.update(&change{fn: fn}) }

// UpdateSoon is Update, but returns when the changes are to be seen, a moment before
// they are on disk: after all that was changed before, and before all that is changed
// later. If they can't be written they are taken back; written tells. So it is for
// what comes right should the daemon die in that moment: a request that nobody has
// been answered yet, and whose effects are then found to be orphans, or the outcome of
// something that is done already, and that is found done when it is tried again.
func (s *Store) UpdateSoon(fn func(*Tx) error) (written <-chan error, err error) {
	c := &change{fn: fn, written: make(chan error, 1)}
	return c.written, s.update(c)
}

func (s *Store) update(c *change) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errs.New(errs.Unavailable, "STATE_CLOSED", "the state is closed: the daemon is stopping")
	}
	s.senders.Add(1)
	s.mu.Unlock()
	c.done = make(chan struct{})
	s.changes <- c
	s.senders.Done()
	<-c.done
	return c.err
}

// write is the only goroutine that changes the state.
func (s *Store) write() {
	defer close(s.ended)
	for c := range s.changes {
		for c != nil {
			if c.written != nil {
				s.commitSoon(c)
				break
			}
			var batch []*change
			batch, c = s.batch(c)
			s.commit(batch)
			for _, c := range batch {
				close(c.done)
			}
		}
	}
}

// batch returns a change and those that wait to be written with it. What is next
// has to be written after them, by itself.
func (s *Store) batch(first *change) (batch []*change, next *change) {
	batch = []*change{first}
	for len(batch) < batchMax {
		select {
		case c, ok := <-s.changes:
			if !ok || c.written != nil {
				return batch, c
			}
			batch = append(batch, c)
		default:
			return batch, nil
		}
	}
	return batch, nil
}

// commitSoon applies a change, tells so, and then writes it.
func (s *Store) commitSoon(c *change) {
	next, writes, _ := s.apply([]*change{c})
	if len(writes) == 0 {
		c.written <- nil
		close(c.done)
		return
	}
	s.publish(&next)
	close(c.done)
	runtime.Gosched() // else who waits may get a thread only when the disk has answered
	err := s.save(writes, &next)
	if err != nil {
		err = s.reload(err)
	}
	c.written <- err
}

// commit applies the changes of a batch and writes those that succeed at once.
func (s *Store) commit(batch []*change) {
	next, writes, applied := s.apply(batch)
	if len(applied) == 0 {
		return
	}
	if err := s.save(writes, &next); err != nil {
		err = s.reload(err)
		for _, c := range applied {
			c.err = err
		}
		return
	}
	s.publish(&next)
}

// apply makes the next state of the changes, one on top of the other, without those
// that fail.
func (s *Store) apply(batch []*change) (next View, writes []write, applied []*change) {
	next = s.view.Load().fork()
	for _, c := range batch {
		tx := &Tx{View: next.fork()}
		if c.err = c.fn(tx); c.err == nil {
			c.err = tx.err
		}
		if c.err == nil && len(tx.writes) > 0 {
			next = tx.View
			writes = append(writes, tx.writes...)
			applied = append(applied, c)
		}
	}
	return next, writes, applied
}

func (s *Store) publish(v *View) {
	s.view.Store(v)
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Store) save(writes []write, next *View) error {
	counts, err := json.Marshal(count(next))
	if err != nil {
		return err
	}
	return s.db.Update(func(tx *bbolt.Tx) error {
		for _, w := range writes {
			bucket := tx.Bucket([]byte(w.bucket))
			if w.value == nil {
				if err := bucket.Delete(w.key); err != nil {
					return err
				}
			} else if err := bucket.Put(w.key, w.value); err != nil {
				return err
			}
		}
		meta := tx.Bucket([]byte(bucketMeta))
		return errors.Join(
			meta.Put([]byte("revision"), strconv.AppendUint(nil, next.revision, 10)),
			meta.Put([]byte("counts"), seal(counts)),
		)
	})
}

// reload makes memory what the file is after a write that failed: when the very
// last step fails, the change may have come to be on disk after all.
func (s *Store) reload(cause error) error {
	err := errs.New(errs.Unavailable, "STATE_WRITE", "the state can't be written: %w", cause).
		WithHint("see to it that the state directory's disk works and has space")
	v, loadErr := load(s.db)
	if loadErr != nil {
		return errors.Join(err, loadErr)
	}
	s.publish(v)
	return err
}
