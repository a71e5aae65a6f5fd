package control

import (
	"slices"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// Want is what the records say, read after the observation: a record always
// precedes its effects, so what was seen without one is an orphan.
type Want struct {
	Clones    []state.Clone
	Snapshots []state.Snapshot
	// Live are the IDs of the snapshots that a refresh of this process works on.
	Live map[string]bool
}

// Observed is what is there, as complete as one List of the driver and one of
// the runtime.
type Observed struct {
	Inventory storage.Inventory
	Instances []container.Instance
	// Since is the state's revision before the observation began: about a clone
	// that changed after it, nothing can be said.
	Since uint64
}

// Orphan is a thing with our mark and no record: one of the fields is set.
type Orphan struct {
	Instance string
	Volume   string
	Snapshot storage.SnapshotRef
}

// Plan compares what is wanted with what is observed. For each clone it gives
// the first thing to do, for the owner to look at again; then the snapshots to
// collect, and all orphans in an order in which they can be swept.
func Plan(want Want, observed Observed, now time.Time) []Action {
	seen := partsByClone(observed)
	states := map[string][]state.Snapshot{}
	byID := map[string]state.Snapshot{}
	for _, s := range want.Snapshots {
		byID[s.ID] = s
		if s.Clone != "" {
			states[s.Clone] = append(states[s.Clone], s)
		}
	}
	var plan []Action
	for _, c := range want.Clones {
		if c.Revision > observed.Since {
			continue
		}
		parts := seen[c.ID].of(c)
		parts.note(c, states[c.ID], byID[c.NextSnapshot])
		if a := planClone(c, parts, now); a.Kind != None {
			plan = append(plan, a)
		}
	}
	used := map[string]bool{}
	for _, s := range want.Snapshots {
		if s.Clone == "" && s.Parent != "" {
			used[s.Parent] = true
		}
	}
	for _, c := range want.Clones {
		for _, id := range origins(c) {
			used[id] = true
		}
		for _, id := range c.Taking {
			want.Live[id] = true
		}
	}
	for _, s := range want.Snapshots {
		if collectable(s, want.Live[s.ID], used[s.ID]) {
			plan = append(plan, Action{Kind: Collect, Snapshot: s.ID})
		}
	}
	return append(plan, planOrphans(want, observed)...)
}

// collectable says whether a snapshot's parts are to be removed: it is deleted
// and no clone came from it, or the refresh that made it has died. A live one is
// being worked on by this process.
func collectable(s state.Snapshot, live, used bool) bool {
	switch s.State {
	case state.SnapshotDeleting:
		return !used && !live
	case state.SnapshotPreparing:
		return !live
	default:
		return false
	}
}

// of returns what was observed of the clone's generations: absent is what was
// not seen.
func (o parts) of(c state.Clone) parts {
	out := parts{}
	for _, g := range c.Generations() {
		p := o[g]
		p.volume, p.instance = max(p.volume, absent), max(p.instance, absent)
		out[g] = p
	}
	return out
}

// note adds what the records know: its snapshots keep a generation, and a
// snapshot that is being taken can't be cloned yet.
func (o parts) note(c state.Clone, snapshots []state.Snapshot, next state.Snapshot) {
	for _, g := range c.Generations() {
		p := o[g]
		p.kept = p.kept || slices.ContainsFunc(snapshots, func(s state.Snapshot) bool { return s.Generation == g })
		p.awaits = g == c.Next && next.Clone != "" && next.State == state.SnapshotPreparing
		o[g] = p
	}
}

func partsByClone(observed Observed) map[string]parts {
	all := map[string]parts{}
	add := func(name string, change func(*part)) {
		id, g, ok := parseCloneName(name)
		if !ok {
			return
		}
		if all[id] == nil {
			all[id] = parts{}
		}
		p := all[id][g]
		change(&p)
		all[id][g] = p
	}
	for _, v := range observed.Inventory.Volumes {
		add(v.ID, func(p *part) { p.volume, p.path = present, v.Path })
	}
	for _, i := range observed.Instances {
		add(i.ID, func(p *part) { p.see(i) })
	}
	return all
}

// see notes an instance that is there.
func (p *part) see(i container.Instance) {
	p.frozen = i.State == container.Frozen
	p.instance, p.observed, p.running = present, i, p.frozen || i.State == container.Running
}

// planOrphans finds what bears our mark and no record knows. What does not bear
// a name of ours, or is newer than the record of its clone, is left alone: it is
// no orphan, but a sign that something else is wrong (see strangers).
func planOrphans(want Want, observed Observed) []Action {
	k := known(want)
	var instances, snapshots, volumes, goldens []Action
	for _, i := range observed.Instances {
		if k.instance(i.ID) == orphaned {
			instances = append(instances, Action{Kind: SweepInstance, Orphan: Orphan{Instance: i.ID}})
		}
	}
	for _, v := range observed.Inventory.Volumes {
		if k.volume(v.ID) != orphaned {
			continue
		}
		a := Action{Kind: SweepVolume, Orphan: Orphan{Volume: v.ID}}
		if _, isGolden := parseGoldenVolume(v.ID); isGolden {
			goldens = append(goldens, a)
		} else {
			volumes = append(volumes, a)
		}
	}
	for _, s := range observed.Inventory.Snapshots {
		if k.snapshot(s.Ref) == orphaned {
			snapshots = append(snapshots, Action{Kind: SweepSnapshot, Orphan: Orphan{Snapshot: s.Ref}})
		}
	}
	// A foreign snapshot can go only after the golden volume that was cloned from
	// it, and our own snapshot only before the volume that it is in.
	foreign := func(a Action) bool { return a.Orphan.Snapshot.Source.Foreign != "" }
	own := slices.DeleteFunc(slices.Clone(snapshots), foreign)
	theirs := slices.DeleteFunc(snapshots, func(a Action) bool { return !foreign(a) })
	return slices.Concat(instances, volumes, own, goldens, theirs)
}

// standing is how a thing with our mark stands to the records.
type standing int

const (
	recorded standing = iota
	orphaned
	stranger // bears our mark, and its name is none that we give now
)

// knowledge is what the records know, by ID.
type knowledge struct {
	clones    map[string]state.Clone
	snapshots map[string]state.Snapshot
	live      map[string]bool
}

func known(want Want) knowledge {
	k := knowledge{clones: map[string]state.Clone{}, snapshots: map[string]state.Snapshot{}, live: want.Live}
	for _, c := range want.Clones {
		k.clones[c.ID] = c
	}
	for _, s := range want.Snapshots {
		k.snapshots[s.ID] = s
	}
	return k
}

func (k knowledge) ofClone(name string) standing {
	id, g, ok := parseCloneName(name)
	c, has := k.clones[id]
	switch {
	case !ok, has && g > c.LastGeneration:
		return stranger
	case has && slices.Contains(c.Generations(), g):
		return recorded
	default:
		return orphaned
	}
}

func (k knowledge) ofSnapshot(id string, named bool) standing {
	if !named {
		return stranger
	}
	if _, has := k.snapshots[id]; has || k.live[id] {
		return recorded
	}
	return orphaned
}

func (k knowledge) instance(name string) standing {
	if id, ok := parseTask(name); ok {
		return k.ofSnapshot(id, true)
	}
	return k.ofClone(name)
}

func (k knowledge) volume(name string) standing {
	if id, ok := parseGoldenVolume(name); ok {
		return k.ofSnapshot(id, true)
	}
	return k.ofClone(name)
}

func (k knowledge) snapshot(ref storage.SnapshotRef) standing {
	if ref.Source.Foreign != "" {
		return k.ofSnapshot(ref.ID, isID(ref.ID))
	}
	if id, ok := parseGoldenVolume(ref.Source.Volume); ok {
		return k.ofSnapshot(id, ref.ID == readyID)
	}
	_, _, ok := parseCloneName(ref.Source.Volume)
	if s, has := k.snapshots[ref.ID]; has && refOf(s) != ref {
		return stranger
	}
	return k.ofSnapshot(ref.ID, ok && isID(ref.ID))
}

// strangers names what bears our mark and is neither recorded nor an orphan,
// such as a generation newer than its clone's record.
func strangers(want Want, observed Observed) []string {
	k := known(want)
	var out []string
	for _, i := range observed.Instances {
		if k.instance(i.ID) == stranger {
			out = append(out, "instance "+i.ID)
		}
	}
	for _, v := range observed.Inventory.Volumes {
		if k.volume(v.ID) == stranger {
			out = append(out, "volume "+v.ID)
		}
	}
	for _, s := range observed.Inventory.Snapshots {
		if k.snapshot(s.Ref) == stranger {
			out = append(out, "snapshot "+s.Ref.Source.Volume+s.Ref.Source.Foreign+"@"+s.Ref.ID)
		}
	}
	return out
}
