package state

import (
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/btree"
)

// View is the state at one revision. It never changes, so that what is read
// from one View belongs together, and reading it touches no disk and waits for
// nobody. What it returns is the reader's own.
type View struct {
	revision  uint64
	restored  time.Time
	goldens   *btree.Map[string, Golden]
	snapshots *btree.Map[string, Snapshot]
	newest    *btree.Map[string, string] // golden's name to the ID of its newest ready snapshot
	states    *btree.Map[string, string] // clone's ID, "/" and snapshot's ID to the latter
	clones    *btree.Map[string, Clone]  // by ID, those being deleted too
	names     *btree.Map[string, string] // name to ID, without those being deleted
	events    *btree.Map[uint64, Event]
	tokens    *btree.Map[string, Token] // by ID
	shares    *btree.Map[string, Share]
	clock     Clock
}

func newView() *View {
	return &View{
		goldens:   new(btree.Map[string, Golden]),
		snapshots: new(btree.Map[string, Snapshot]),
		newest:    new(btree.Map[string, string]),
		states:    new(btree.Map[string, string]),
		clones:    new(btree.Map[string, Clone]),
		names:     new(btree.Map[string, string]),
		events:    new(btree.Map[uint64, Event]),
		tokens:    new(btree.Map[string, Token]),
		shares:    new(btree.Map[string, Share]),
	}
}

// fork returns a view that can be changed without v changing. It takes no time
// in proportion to the content. Only the store's writer calls it.
func (v *View) fork() View {
	return View{
		revision: v.revision, restored: v.restored, clock: v.clock,
		goldens: v.goldens.Copy(), snapshots: v.snapshots.Copy(), newest: v.newest.Copy(), states: v.states.Copy(),
		clones: v.clones.Copy(), names: v.names.Copy(), events: v.events.Copy(), tokens: v.tokens.Copy(), shares: v.shares.Copy(),
	}
}

// Revision grows with every change; it is 0 for a store that never held anything.
func (v *View) Revision() uint64 { return v.revision }

// Clock returns what was last noted of the host's clock.
func (v *View) Clock() Clock { return v.clock }

// Restored is when a backup was put back that may lack what was made after it;
// zero once nothing is there that it does not know of.
func (v *View) Restored() time.Time { return v.restored }

// Golden returns the golden of the name.
func (v *View) Golden(name string) (Golden, bool) {
	g, ok := v.goldens.Get(name)
	return g.copy(), ok
}

// Goldens returns all goldens by name.
func (v *View) Goldens() []Golden {
	out := make([]Golden, 0, v.goldens.Len())
	v.goldens.Scan(func(_ string, g Golden) bool {
		out = append(out, g.copy())
		return true
	})
	return out
}

// Snapshot returns the snapshot of the ID, whatever its state.
func (v *View) Snapshot(id string) (Snapshot, bool) {
	s, ok := v.snapshots.Get(id)
	return s.copy(), ok
}

// NewestSnapshot returns the newest of a golden's ready snapshots, without
// looking at the others.
func (v *View) NewestSnapshot(golden string) (Snapshot, bool) {
	id, ok := v.newest.Get(golden)
	if !ok {
		return Snapshot{}, false
	}
	return v.Snapshot(id)
}

// index notes a snapshot by what it is a state of.
func (v *View) index(s Snapshot) {
	if s.Clone == "" {
		v.findNewest(s.Golden)
	} else {
		v.states.Set(s.Clone+"/"+s.ID, s.ID)
	}
}

// findNewest notes which of a golden's snapshots is the newest.
func (v *View) findNewest(golden string) {
	v.newest.Delete(golden)
	for _, s := range v.Snapshots(golden) {
		if s.State == SnapshotReady {
			v.newest.Set(golden, s.ID)
			return
		}
	}
}

// Snapshots returns a golden's own snapshots, whatever their state, newest
// first; for "" all there are, those of clones too.
func (v *View) Snapshots(golden string) []Snapshot {
	var out []Snapshot
	v.snapshots.Scan(func(_ string, s Snapshot) bool {
		if golden == "" || s.Golden == golden && s.Clone == "" {
			out = append(out, s.copy())
		}
		return true
	})
	newestFirst(out)
	return out
}

// CloneSnapshots returns the snapshots of a clone, by its ID, whatever their
// state, newest first. It looks at no others.
func (v *View) CloneSnapshots(clone string) []Snapshot {
	var out []Snapshot
	prefix := clone + "/"
	v.states.Ascend(prefix, func(key, id string) bool {
		if !strings.HasPrefix(key, prefix) {
			return false
		}
		s, _ := v.Snapshot(id)
		out = append(out, s)
		return true
	})
	newestFirst(out)
	return out
}

func newestFirst(s []Snapshot) {
	slices.SortStableFunc(s, func(a, b Snapshot) int { return b.Created.Compare(a.Created) })
}

// Clone returns the clone of the ID, one being deleted too.
func (v *View) Clone(id string) (Clone, bool) {
	c, ok := v.clones.Get(id)
	return c.copy(), ok
}

// CloneNamed returns the clone of the name, unless it is being deleted.
func (v *View) CloneNamed(name string) (Clone, bool) {
	id, ok := v.names.Get(name)
	if !ok {
		return Clone{}, false
	}
	return v.Clone(id)
}

// CloneCount returns the number of clones that are not being deleted.
func (v *View) CloneCount() int { return v.names.Len() }

// Clones yields every clone, those being deleted too, by ID.
func (v *View) Clones() iter.Seq[Clone] {
	return func(yield func(Clone) bool) {
		v.clones.Scan(func(_ string, c Clone) bool { return yield(c.copy()) })
	}
}

// ClonesByName yields the clones that are not being deleted, by name, starting
// after the given one.
func (v *View) ClonesByName(after string) iter.Seq[Clone] {
	return func(yield func(Clone) bool) {
		v.names.Ascend(after, func(name, id string) bool {
			if name == after {
				return true
			}
			c, _ := v.Clone(id)
			return yield(c)
		})
	}
}

// EventsAfter returns up to limit events after the revision, oldest first.
// complete is false if some that came after it may no longer be kept, or if the
// revision has not been reached (as when an older state was put back).
func (v *View) EventsAfter(revision uint64, limit int) (events []Event, complete bool) {
	oldest, _, _ := v.events.Min()
	full := v.events.Len() >= eventsKept
	if revision > v.revision || full && revision+1 < oldest {
		return nil, false
	}
	v.events.Ascend(revision+1, func(_ uint64, e Event) bool {
		e.Clone = e.Clone.copy()
		events = append(events, e)
		return len(events) < limit
	})
	return events, true
}
