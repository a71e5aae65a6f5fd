package control

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// adoptedDatabase is what users of adopted clones are sent to, for which
// databases there are is only known to preparation.
const adoptedDatabase = "postgres"

// adoptedFor is the least that the other generations of an adopted clone are kept
// for.
const adoptedFor = 7 * 24 * time.Hour

// adoption is what Adopt has rebuilt so far.
type adoption struct {
	p         *Plane
	goldens   map[string]state.Golden // by system ID
	snapshots map[string]state.Snapshot
	origins   map[string]storage.SnapshotRef // of volumes, where the driver knows them
	clones    []state.Clone
	report    []string
}

// Adopt rebuilds what can be rebuilt from what is there into a state that has
// never held anything, and reports on it, for people. It removes nothing. To be
// called before Run. What names and data tell is all there is:
//
//   - each golden snapshot that is whole, under a golden "adopted-<snapshot ID>",
//     one for all snapshots of the same database system. Their source, settings
//     and limits are not known: such a golden can't be refreshed.
//   - each clone, named by its ID, protected, and suspended, for its port is not
//     known: it gets another. Its password is as before if the key is. Of several
//     generations it has the one that runs, else the newest; the others, kept by
//     resets or in the making when the state was lost, UndoClone brings back.
//   - each snapshot of a clone, without its name.
//
// What can't be matched with a golden is recorded all the same, so that no pass
// takes it for an orphan.
func (p *Plane) Adopt(ctx context.Context) (report []string, err error) {
	if p.store.View().Revision() != 0 {
		return nil, errs.New(errs.Precondition, "STATE_NOT_EMPTY", "the state is there, so nothing is to be adopted").
			WithHint("start without --adopt")
	}
	observed, err := p.observe(ctx)
	if err != nil {
		return nil, err
	}
	a := &adoption{p: p, goldens: map[string]state.Golden{}, snapshots: map[string]state.Snapshot{}}
	a.adoptSnapshots(ctx, observed)
	a.findOrigins(observed)
	a.adoptStates(observed)
	if err := a.adoptClones(ctx, observed); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err // what could not be looked at for it is no worse than before
	}
	err = p.step(stepCommitOutcome, func() error {
		return p.store.Update(func(tx *state.Tx) error {
			for _, g := range a.goldens {
				tx.PutGolden(&g)
			}
			for _, s := range a.snapshots {
				tx.PutSnapshot(&s)
			}
			for i := range a.clones {
				tx.PutClone(&a.clones[i])
			}
			return nil
		})
	})
	return a.report, err
}

func (a *adoption) say(format string, args ...any) {
	a.report = append(a.report, fmt.Sprintf(format, args...))
}

// adoptSnapshots records the golden snapshots that are whole.
func (a *adoption) adoptSnapshots(ctx context.Context, observed Observed) {
	whole := map[string]state.Snapshot{}
	for _, s := range observed.Inventory.Snapshots {
		if id, ok := parseGoldenVolume(s.Ref.Source.Volume); ok && s.Ref.ID == readyID {
			whole[id] = state.Snapshot{ID: id, State: state.SnapshotReady, Created: s.Created}
		}
	}
	for _, v := range observed.Inventory.Volumes {
		id, ok := parseGoldenVolume(v.ID)
		if !ok {
			continue
		}
		s, ok := whole[id]
		if !ok {
			a.say("volume %s is what a refresh left when it died: it is removed later", v.ID)
			continue
		}
		if v.Origin != nil {
			s.Foreign = v.Origin.Source.Foreign
		}
		if err := a.identify(ctx, &s, v.Path); err != nil {
			a.say("snapshot %s is kept, but can't be cloned: %v", id, err)
			s.Golden = "adopted-" + id
			a.goldens[s.Golden] = state.Golden{Name: s.Golden, Engine: DefaultEngine, Created: s.Created, Published: true}
		} else {
			a.say("snapshot %s is adopted into golden %s", id, s.Golden)
		}
		a.snapshots[id] = s
	}
}

// identify asks the engines what the data is, and finds or makes its golden.
func (a *adoption) identify(ctx context.Context, s *state.Snapshot, path string) error {
	name, dataDir, facts, err := a.inspect(ctx, path)
	if err != nil {
		return err
	}
	s.DataDir = dataDir
	describe(s, facts, database.Prepared{Database: adoptedDatabase, PreloadLibraries: facts.PreloadLibraries})
	g, ok := a.goldens[facts.SystemID]
	if !ok {
		g = state.Golden{Name: "adopted-" + s.ID, Engine: name, Created: s.Created, Published: true}
		a.goldens[facts.SystemID] = g
	}
	s.Golden = g.Name
	p := a.p
	s.Image = p.cfg.Engines[name].DefaultImage(p.cfg.Runtime.Name(), facts.Major)
	err = p.step(stepProbe, func() (err error) {
		s.ImageID, err = p.cfg.Runtime.EnsureImage(ctx, s.Image)
		return err
	})
	if err != nil {
		a.say("image %s of snapshot %s is not there: %v", s.Image, s.ID, err)
		s.ImageID = s.Image
	}
	return nil
}

// inspect finds the engine and the data directory of a volume: "data" if we
// filled it, the root if it was cloned from a dataset in place.
func (a *adoption) inspect(ctx context.Context, path string) (engine, dataDir string, f database.Facts, err error) {
	for _, name := range slices.Sorted(maps.Keys(a.p.cfg.Engines)) {
		for _, dataDir := range []string{filledDataDir, "."} {
			if f, err = a.p.cfg.Engines[name].Inspect(ctx, path, dataDir); err == nil {
				return name, dataDir, f, nil
			}
		}
	}
	return "", "", f, err
}

// adoptClones records every clone of which there is a volume.
func (a *adoption) adoptClones(ctx context.Context, observed Observed) error {
	seen := partsByClone(observed)
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		var generations []int64
		for g, part := range seen[id] {
			if part.volume == present {
				generations = append(generations, g)
			}
		}
		if len(generations) == 0 {
			continue // an instance without volume has nothing to lose
		}
		slices.SortFunc(generations, func(x, y int64) int {
			if px, py := seen[id][x].running, seen[id][y].running; px != py {
				if px {
					return -1
				}
				return 1
			}
			return cmp.Compare(y, x)
		})
		port, err := a.p.ports.reserve(id)
		if err != nil {
			return err
		}
		c := state.Clone{
			ID: id, Name: id, Created: a.p.now().Round(0), Spec: "adopted",
			Addr: a.p.cfg.Addr, Port: port, Protect: true,
			Generation: generations[0], LastGeneration: slices.Max(generations),
			Suspend: true, State: state.CloneSuspending,
		}
		a.match(ctx, &c, seen[id][c.Generation].path)
		a.keep(&c, generations[1:])
		a.clones = append(a.clones, c)
	}
	return nil
}

// keep has the generations that a clone has not, newest first, kept: which of
// them is the right one is for its owner to say.
func (a *adoption) keep(c *state.Clone, generations []int64) {
	slices.Sort(generations)
	for _, g := range generations {
		k := state.KeptGeneration{Generation: g, Snapshot: c.Snapshot, Since: c.Created, Until: c.Created.Add(max(a.p.cfg.KeepFor, adoptedFor))}
		if s, ok := a.snapshots[a.originOf(cloneName(c.ID, g))]; ok {
			k.Snapshot = s.ID
		}
		c.Kept = append(c.Kept, k)
		a.say("clone %s has a generation %d as well, kept for %s: clonectl undo", c.ID, g, max(a.p.cfg.KeepFor, adoptedFor))
	}
}

// findOrigins notes what each volume came from.
func (a *adoption) findOrigins(observed Observed) {
	a.origins = map[string]storage.SnapshotRef{}
	for _, v := range observed.Inventory.Volumes {
		if v.Origin != nil {
			a.origins[v.ID] = *v.Origin
		}
	}
}

// originOf is the ID of the snapshot that a volume came from.
func (a *adoption) originOf(volume string) string {
	origin := a.origins[volume]
	if id, ok := parseGoldenVolume(origin.Source.Volume); ok {
		return id
	}
	return origin.ID
}

// rootOf is the golden's snapshot that a volume descends from.
func (a *adoption) rootOf(volume string) (state.Snapshot, bool) {
	for range len(a.origins) + 1 {
		origin := a.origins[volume].Source.Volume
		if id, ok := parseGoldenVolume(origin); ok {
			s, known := a.snapshots[id]
			return s, known
		}
		volume = origin
	}
	return state.Snapshot{}, false
}

// adoptStates records the snapshots of clones. What they are follows from the
// golden's snapshot that they descend from; where that is not known, they are
// recorded all the same, and can't be cloned.
func (a *adoption) adoptStates(observed Observed) {
	for _, found := range observed.Inventory.Snapshots {
		clone, generation, ok := parseCloneName(found.Ref.Source.Volume)
		if !ok || !isID(found.Ref.ID) {
			continue
		}
		s, ok := a.rootOf(found.Ref.Source.Volume)
		if !ok {
			a.say("snapshot %s of clone %s is kept, but can't be cloned: no golden is known that it came from", found.Ref.ID, clone)
		}
		s.ID, s.State, s.Created, s.Foreign = found.Ref.ID, state.SnapshotReady, found.Created, ""
		s.Clone, s.Generation, s.Parent = clone, generation, a.originOf(found.Ref.Source.Volume)
		a.snapshots[s.ID] = s
	}
}

// match finds the snapshot that a clone came from: by its origin where the
// driver knows it, else the newest snapshot of the same database system.
func (a *adoption) match(ctx context.Context, c *state.Clone, path string) {
	if s, ok := a.snapshots[a.originOf(cloneName(c.ID, c.Generation))]; ok {
		c.Snapshot, c.Golden = s.ID, s.Golden
		a.say("clone %s is adopted, suspended and protected; it came from snapshot %s", c.ID, s.ID)
		return
	}
	_, _, facts, err := a.inspect(ctx, path)
	var newest state.Snapshot
	for _, s := range a.snapshots {
		if err == nil && s.Clone == "" && s.SystemID == facts.SystemID && (newest.ID == "" || s.Created.After(newest.Created)) {
			newest = s
		}
	}
	if newest.ID == "" {
		a.say("clone %s is kept, but can't be started: no golden is known that it came from", c.ID)
		return
	}
	c.Snapshot, c.Golden = newest.ID, newest.Golden
	a.say("clone %s is adopted, suspended and protected; it is taken to be of snapshot %s, the newest of the same database", c.ID, newest.ID)
}
