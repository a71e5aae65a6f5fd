package control

import (
	"time"

	"github.com/cloned-db/cloned/state"
)

// CopyState returns the state's file as it is at one moment.
func (p *Plane) CopyState() ([]byte, error) { return p.store.Copy() }

// putBackGrace is how far away every deadline is, at least, in a state that was
// put back.
const putBackGrace = 24 * time.Hour

// PutBack makes a state that comes from a backup safe to start with. It does not
// know what happened after the backup, so nothing may be destroyed on its word
// alone that somebody may have wanted to keep since then:
//
//   - no pass sweeps orphans, which may be younger than the backup, until there
//     are none, or the operator decides (SweepOrphans);
//   - no clone expires, and nothing kept is forgotten, within a day: it may have
//     been prolonged, protected or brought back;
//   - a golden's snapshot that was being made is an orphan: it may have been
//     published.
func PutBack(store *state.Store, now time.Time) error {
	now = now.Round(0)
	least := now.Add(putBackGrace)
	return store.Update(func(tx *state.Tx) error {
		for _, s := range tx.Snapshots("") {
			if s.Clone == "" && s.State == state.SnapshotPreparing {
				tx.DropSnapshot(s.ID)
			}
		}
		for _, g := range tx.Goldens() {
			if !g.Published && len(tx.Snapshots(g.Name)) == 0 {
				tx.DropGolden(g.Name)
			}
		}
		var changed []state.Clone
		for c := range tx.Clones() {
			if prolong(&c, least) {
				changed = append(changed, c)
			}
		}
		for i := range changed {
			tx.PutClone(&changed[i])
		}
		tx.PutClock(state.Clock{}) // a clock that was set since moves no deadline
		tx.SetRestored(now)
		return nil
	})
}

// prolong puts off the deadlines of a clone that are before least.
func prolong(c *state.Clone, least time.Time) (changed bool) {
	later := func(at *time.Time) {
		if !at.IsZero() && at.Before(least) {
			*at, changed = least, true
		}
	}
	later(&c.Expires)
	later(&c.KeptUntil)
	for i := range c.Kept {
		later(&c.Kept[i].Until)
	}
	return changed
}
