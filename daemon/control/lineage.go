package control

import (
	"context"
	"slices"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// Lineage returns the snapshots that a clone can be reset to and forked from,
// newest first: its own, those that its present generation descends from, and
// those of its golden.
func (p *Plane) Lineage(ctx context.Context, name string) ([]state.Snapshot, error) {
	view, who := p.store.View(), caller(ctx)
	c, err := who.clone(view, name)
	if err != nil {
		return nil, err
	}
	return lineage(view, who, c), nil
}

func lineage(v *state.View, who Caller, c state.Clone) []state.Snapshot {
	var out []state.Snapshot
	seen := map[string]bool{}
	add := func(s state.Snapshot) {
		if !seen[s.ID] && who.seesSnapshot(v, s) {
			seen[s.ID] = true
			out = append(out, s)
		}
	}
	for _, s := range v.CloneSnapshots(c.ID) {
		if s.State == state.SnapshotReady {
			add(s)
		}
	}
	// The origin itself is there as long as the clone is, even if it is hidden.
	origin, ok := v.Snapshot(c.Snapshot)
	if ok && origin.For == "" {
		add(origin)
	}
	for s := origin; ok && s.Clone != ""; s, ok = v.Snapshot(s.Parent) {
		for _, before := range v.CloneSnapshots(s.Clone) {
			if before.State == state.SnapshotReady && before.Generation == s.Generation && !before.Created.After(s.Created) {
				add(before)
			}
		}
	}
	for _, s := range readySnapshots(v, c.Golden) {
		add(s)
	}
	slices.SortStableFunc(out, func(a, b state.Snapshot) int { return b.Created.Compare(a.Created) })
	return out
}

// inLineage returns the snapshot of a clone's lineage that a user means: the
// clone's own of that name, else the one of that ID, which may be one that is not
// shown.
func inLineage(v *state.View, who Caller, c state.Clone, ref string) (state.Snapshot, error) {
	all := lineage(v, who, c)
	for _, s := range all {
		if s.Clone == c.ID && s.Name == ref {
			return s, nil
		}
	}
	for _, s := range all {
		if s.ID == ref {
			return s, nil
		}
	}
	for s, ok := v.Snapshot(c.Snapshot); ok; s, ok = v.Snapshot(s.Parent) {
		if s.ID == ref {
			return s, nil
		}
	}
	if s, ok := v.Snapshot(ref); ok && s.State == state.SnapshotReady && who.seesSnapshot(v, s) {
		return state.Snapshot{}, errs.New(errs.Precondition, "NOT_IN_LINEAGE", "snapshot %s is none that clone %s descends from", ref, c.Name).
			WithHint("clonectl log %s shows those it does", c.Name)
	}
	return state.Snapshot{}, errs.New(errs.NotFound, "SNAPSHOT_NOT_FOUND", "clone %s has no snapshot %q", c.Name, ref).
		WithHint("clonectl log %s shows those there are", c.Name)
}

// CloneName is the name of the clone of the ID; "" if it is deleted.
func (p *Plane) CloneName(ctx context.Context, id string) string {
	c, _ := p.store.View().Clone(id)
	if c.State == state.CloneDeleting || !caller(ctx).sees(c) {
		return ""
	}
	return c.Name
}
