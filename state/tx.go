package state

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cloned-db/cloned/errs"
)

// eventsKept is how many events a watcher may be behind.
const eventsKept = 4096

// Tx is a change of the state. It reads like a View, its own changes included.
// A record that is put gets the change's revision, and so does the caller's.
type Tx struct {
	View
	writes []write
	err    error
}

// write is one change of a bucket; value nil deletes.
type write struct {
	bucket     string
	key, value []byte
}

// PutClock notes how the host's clock is set. It is no change that anybody sees.
func (t *Tx) PutClock(c Clock) {
	t.clock = c
	t.put(bucketMeta, []byte(keyClock), c)
}

// SetRestored writes when a backup was put back; zero for no longer.
func (t *Tx) SetRestored(at time.Time) {
	t.revision++
	t.restored = at
	if at.IsZero() {
		t.drop(bucketMeta, []byte(keyRestored))
		return
	}
	t.put(bucketMeta, []byte(keyRestored), at)
}

// PutGolden writes a golden.
func (t *Tx) PutGolden(g *Golden) {
	t.revision++
	g.Revision = t.revision
	t.goldens.Set(g.Name, g.copy())
	t.put(bucketGoldens, []byte(g.Name), g)
}

// DropGolden removes a golden's record.
func (t *Tx) DropGolden(name string) {
	t.revision++
	t.goldens.Delete(name)
	t.drop(bucketGoldens, []byte(name))
}

// PutSnapshot writes a snapshot.
func (t *Tx) PutSnapshot(s *Snapshot) {
	t.revision++
	s.Revision = t.revision
	t.snapshots.Set(s.ID, s.copy())
	t.index(*s)
	t.put(bucketSnapshots, []byte(s.ID), s)
}

// DropSnapshot removes a snapshot's record.
func (t *Tx) DropSnapshot(id string) {
	t.revision++
	if s, ok := t.snapshots.Delete(id); ok {
		if s.Clone == "" {
			t.findNewest(s.Golden)
		}
		t.states.Delete(s.Clone + "/" + s.ID)
	}
	t.drop(bucketSnapshots, []byte(id))
}

// PutClone writes a clone and tells watchers. A clone in state deleting gives
// up its name; a name that another one has fails the transaction.
func (t *Tx) PutClone(c *Clone) {
	t.revision++
	c.Revision = t.revision
	old, existed := t.clones.Get(c.ID)
	wasVisible := existed && old.State != CloneDeleting
	visible := c.State != CloneDeleting
	if wasVisible && (!visible || old.Name != c.Name) {
		t.names.Delete(old.Name)
	}
	if visible {
		if id, taken := t.names.Get(c.Name); taken && id != c.ID {
			t.fail(errs.New(errs.Exists, "NAME_TAKEN", "a clone named %q exists", c.Name))
			return
		}
		t.names.Set(c.Name, c.ID)
	}
	t.count(old, *c)
	t.clones.Set(c.ID, c.copy())
	t.put(bucketClones, []byte(c.ID), c)
	if visible || wasVisible {
		t.event(Event{Revision: t.revision, Deleted: !visible, Clone: c.copy()})
	}
}

// DropClone removes the record of a clone, which must be in state deleting.
func (t *Tx) DropClone(id string) {
	if c, ok := t.clones.Get(id); ok && c.State != CloneDeleting {
		t.fail(fmt.Errorf("state: drop of clone %s in state %s", id, c.State))
		return
	}
	t.revision++
	t.clones.Delete(id)
	t.drop(bucketClones, []byte(id))
}

func (t *Tx) event(e Event) {
	t.events.Set(e.Revision, e)
	t.put(bucketEvents, eventKey(e.Revision), e)
	if t.events.Len() > eventsKept {
		oldest, _, _ := t.events.PopMin()
		t.drop(bucketEvents, eventKey(oldest))
	}
}

func (t *Tx) put(bucket string, key []byte, record any) {
	raw, err := json.Marshal(record)
	if err != nil {
		t.fail(fmt.Errorf("state: %s %s: %w", bucket, key, err))
		return
	}
	t.writes = append(t.writes, write{bucket, key, seal(raw)})
}

func (t *Tx) drop(bucket string, key []byte) {
	t.writes = append(t.writes, write{bucket: bucket, key: key})
}

func (t *Tx) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// eventKey sorts by revision.
func eventKey(revision uint64) []byte { return binary.BigEndian.AppendUint64(nil, revision) }
