package control

import (
	"slices"
	"time"

	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// hopeless is after how many restarts that came to nothing a crash is more than
// an accident.
const hopeless = 3

// clones: each is as it is wanted.
func (e *examination) clones(r *report) {
	volumes := map[string]bool{}
	for _, v := range e.observed.Inventory.Volumes {
		volumes[v.ID] = true
	}
	for _, c := range e.want.Clones {
		// Of one that changed after the observation nothing was seen.
		seen := e.complete() && c.Revision <= e.observed.Since
		present := cloneName(c.ID, c.Generation)
		switch {
		case c.State == state.CloneFailed:
			r.say(Fault, "clonectl reset "+c.Name+" (anew from its snapshot), or clonectl rm "+c.Name, "clone %s is failed: %s", c.Name, c.Message)
		case c.State == state.CloneDeleting && c.KeptUntil.IsZero(), c.Generation == 0:
			continue // a pass sees to it
		case seen && !volumes[present] && c.State == state.CloneDeleting:
			r.say(Warning, "nothing brings it back: it is forgotten at "+c.KeptUntil.Format(time.RFC3339),
				"deleted clone %s can't be brought back: its volume %s has vanished", c.Name, present)
		case seen && !volumes[present]:
			r.say(Fault, "clonectl reset "+c.Name+" (anew from its snapshot), or clonectl rm "+c.Name, "the volume %s of clone %s has vanished", present, c.Name)
		case c.State == state.CloneCrashed:
			severity := Warning
			if c.Failures >= hopeless {
				severity = Fault
			}
			r.say(severity, "clonectl logs "+c.Name+"; clonectl reset "+c.Name, "clone %s has crashed, and %d restarts did not last: %s", c.Name, c.Failures, c.Message)
		case seen && c.State == state.CloneReady && !e.instanceRuns(present):
			r.say(Warning, "it is started again by itself; clonectl logs "+c.Name, "the instance of clone %s does not run", c.Name)
		}
		for _, k := range c.Kept {
			if seen && c.State != state.CloneFailed && !volumes[cloneName(c.ID, k.Generation)] {
				r.say(Warning, "nothing brings it back: it is forgotten at "+k.Until.Format(time.RFC3339),
					"clone %s can't go back to generation %d: its volume has vanished", c.Name, k.Generation)
			}
		}
	}
}

// snapshots: nothing is left of those that nobody wants. That one has lost its
// volume is the host's finding.
func (e *examination) snapshots(r *report) {
	p, view := e.p, e.p.store.View()
	p.health.mu.Lock()
	passed := p.health.seen
	p.health.mu.Unlock()
	for _, s := range e.want.Snapshots {
		// What the last pass has not seen yet goes with the next.
		if s.Revision > passed || !collectable(s, e.want.Live[s.ID] || isTaking(view, s), isUsed(view, s)) {
			continue
		}
		what := "deleted snapshot"
		if s.State == state.SnapshotPreparing {
			what = "what is left of a refresh that failed, snapshot"
		}
		r.say(Warning, "it is tried again in each pass; "+seeLog, "%s %s of golden %s is still to be removed", what, s.ID, s.Golden)
	}
}

// ports: no other program has taken one that a clone is to come back on.
func (e *examination) ports(r *report) {
	if err := e.err.ports; err != nil {
		r.say(Warning, seeLog, "which ports are taken can't be told: %v", err)
	}
	for _, c := range e.want.Clones {
		waits := c.State == state.CloneSuspended || c.State == state.CloneCrashed
		if !waits || !e.complete() || c.Revision > e.observed.Since || !slices.Contains(e.taken, c.Port) || e.instanceRuns(cloneName(c.ID, c.Generation)) {
			continue
		}
		remedy := "find out who listens: ss -ltnp"
		if c.State == state.CloneSuspended {
			remedy = "clonectl resume --new-port " + c.Name
		}
		r.say(Fault, remedy, "port %d of clone %s is taken by another program", c.Port, c.Name)
	}
	if e.p.ports.free() == 0 {
		r.say(Warning, "delete clones, or widen clones.ports", "no port from %d to %d is free: nothing can be created", e.p.cfg.PortFirst, e.p.cfg.PortLast)
	}
}

// lostSnapshots names ready snapshots whose volume has vanished.
func lostSnapshots(want Want, observed Observed) []string {
	there := map[storage.SnapshotRef]bool{}
	for _, s := range observed.Inventory.Snapshots {
		there[s.Ref] = true
	}
	var out []string
	for _, s := range want.Snapshots {
		if s.State == state.SnapshotReady && s.Revision <= observed.Since && !there[refOf(s)] {
			out = append(out, s.ID)
		}
	}
	return out
}
