package control

import (
	"slices"
	"strings"
	"time"

	"github.com/cloned-db/cloned/container"
)

// storage: what is there can be listed.
func (e *examination) storage(r *report) {
	if err := e.err.volumes; err != nil {
		r.say(Fault, hintOf(err, seeLog), "what volumes are there can't be told, so nothing is destroyed: %v", err)
	}
}

// space: that it is less than the floor is the host's finding.
func (e *examination) space(r *report) {
	if h := e.host; h.spaceErr == nil && h.space.Free >= h.floor && h.space.Free < 2*h.floor {
		r.say(Warning, freeSpace, "the pool has %s free; below %s nothing is created", mib(h.space.Free), mib(h.floor))
	}
}

// runtime: it answers, and what is there can be listed.
func (e *examination) runtime(r *report) {
	name := e.p.cfg.Runtime.Name()
	if err := e.err.runtime; err != nil {
		r.say(Fault, hintOf(err, seeLog), "runtime %s does not answer: %v", name, err)
	} else if err := e.err.instances; err != nil {
		r.say(Fault, hintOf(err, seeLog), "what instances are there can't be told, so nothing is removed: %v", err)
	}
}

// network: clones are kept from it.
func (e *examination) network(r *report) {
	if err := e.err.setup; err != nil && e.err.runtime == nil {
		r.say(Fault, hintOf(err, seeLog), "what clones share is not in place: %v", err)
	}
}

// state: what is on disk is whole.
func (e *examination) state(r *report) {
	if err := e.err.state; err != nil {
		r.say(Fault, "cloned state restore FILE: what is in memory is not what the next start will read", "the records on disk can't be read: %v", err)
	}
}

// passes: one was there not long ago.
func (e *examination) passes(r *report) {
	p := e.p
	p.health.mu.Lock()
	last, failed := p.health.last, p.health.err != nil
	p.health.mu.Unlock()
	// As many as may fail for a moment, and as long as one may hang.
	limit := 3*p.cfg.ReconcileEvery + observeTimeout
	switch age := p.now().Sub(last); {
	case failed: // said by the host's facts
	case last.IsZero():
		r.say(Warning, "wait a moment, and look again", "the first reconciliation is not over")
	case age > limit:
		r.say(Fault, "systemctl restart cloned; "+seeLog, "the last reconciliation was %v ago: nothing is repaired or expires", age.Round(time.Second))
	}
}

// someOrphans: those that a pass sweeps; that there are too many for that is the
// host's finding.
func (e *examination) someOrphans(r *report) {
	if n := len(e.orphans); n > 0 && e.host.orphans == 0 {
		r.say(Warning, "they go by themselves in two passes; clonectl gc --dry-run lists them", "orphans: %s", strings.Join(e.orphans, ", "))
	}
}

// goldens: what their clones run is there.
func (e *examination) goldens(r *report) {
	if err := e.err.images; err != nil && e.err.runtime == nil {
		r.say(Fault, hintOf(err, seeLog), "which images are there can't be told: %v", err)
	}
	said := map[string]bool{}
	for _, s := range readySnapshots(e.p.store.View(), "") {
		if e.images[s.ImageID] == nil || said[s.Golden+s.ImageID] {
			continue
		}
		said[s.Golden+s.ImageID] = true
		r.say(Fault, "get it back (docker pull "+s.Image+"), or clonectl golden refresh "+s.Golden+" for clones with the present one",
			"image %s (%s) is missing: clones of golden %s can't be started", s.Image, s.ImageID, s.Golden)
	}
}

// budget: what is kept for undo stays within it.
func (e *examination) budget(r *report) {
	if err := e.err.kept; err != nil && e.err.volumes == nil {
		r.say(Warning, hintOf(err, seeLog), "what is kept for undo can't be measured: %v", err)
	}
	if budget := e.p.cfg.KeepBytes; budget > 0 && e.kept > budget {
		r.say(Warning, "clonectl ls --deleted, clonectl rm --now NAME; the oldest goes by itself when nothing descends from it",
			"what is kept for undo takes %s, more than its budget of %s", mib(e.kept), mib(budget))
	}
}

// futureTolerance is how far the clock may be wrong without anybody looking.
const futureTolerance = time.Minute

// clock: nothing was made in the future.
func (e *examination) clock(r *report) {
	now := e.p.now()
	var latest time.Time
	for _, s := range e.want.Snapshots {
		if s.Created.After(latest) {
			latest = s.Created
		}
	}
	for _, c := range e.want.Clones {
		if c.Created.After(latest) {
			latest = c.Created
		}
	}
	if latest.Sub(now) > futureTolerance {
		r.say(Warning, "timedatectl", "the clock was set back: it is %s, and the newest record is of %s", now.Format(time.RFC3339), latest.Format(time.RFC3339))
	}
}

// instanceRuns says whether the instance of a generation was seen to run.
func (e *examination) instanceRuns(name string) bool {
	return slices.ContainsFunc(e.observed.Instances, func(i container.Instance) bool {
		return i.ID == name && (i.State == container.Running || i.State == container.Frozen)
	})
}
