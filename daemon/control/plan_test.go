package control

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

var (
	noon  = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	later = noon.Add(time.Hour)
)

func TestPlanClone(t *testing.T) {
	t.Parallel()
	up := part{volume: present, instance: present, running: true, answered: true}
	running := part{volume: present, instance: present, running: true}
	exited := part{volume: present, instance: present}
	stopped := part{volume: present, instance: absent}
	ready := state.Clone{Generation: 1, Claimed: 1, State: state.CloneReady}
	with := func(c state.Clone, change func(*state.Clone)) state.Clone { change(&c); return c }
	crashed := with(ready, func(c *state.Clone) { c.State = state.CloneCrashed })
	resetting := with(ready, func(c *state.Clone) { c.State, c.Next = state.CloneResetting, 2 })
	creating := state.Clone{State: state.CloneCreating, Next: 1}
	for _, test := range []struct {
		what string
		c    state.Clone
		o    parts
		want Action
	}{
		{"a new clone of which nothing is known", creating, parts{}, Action{Kind: MakeVolume, Generation: 1}},
		{"with its volume", creating, parts{1: {volume: present}}, Action{Kind: StartInstance, Generation: 1}},
		{"running", creating, parts{1: running}, Action{Kind: AwaitReady, Generation: 1}},
		{"answering", creating, parts{1: up}, Action{Kind: Claim, Generation: 1}},
		{"claimed", creating, parts{1: {volume: present, running: true, answered: true, claimed: true}}, Action{Kind: Switch, Generation: 1}},
		{"expired while it is made", with(creating, func(c *state.Clone) { c.Expires = noon }), parts{}, Action{Kind: Expire}},

		{"as wanted", ready, parts{1: running}, Action{}},
		{"to expire", with(ready, func(c *state.Clone) { c.Expires = later }), parts{1: running}, Action{Kind: Wait, At: later}},
		{"expired", with(ready, func(c *state.Clone) { c.Expires = noon }), parts{1: running}, Action{Kind: Expire}},
		{"expired, protected", with(ready, func(c *state.Clone) { c.Expires, c.Protect = noon, true }), parts{1: running}, Action{}},
		{"its process ended", ready, parts{1: exited}, Action{Kind: MarkCrash, Generation: 1}},
		{"its instance is gone", ready, parts{1: stopped}, Action{Kind: MarkCrash, Generation: 1}},
		{"its volume is gone", ready, parts{1: {volume: absent, instance: present, running: true}}, Action{Kind: MarkLost, Generation: 1}},
		{"known to be lost", with(ready, func(c *state.Clone) { c.State = state.CloneFailed }), parts{1: {volume: absent}}, Action{}},
		{"lost and found", with(ready, func(c *state.Clone) { c.State = state.CloneFailed }), parts{1: stopped}, Action{Kind: StartInstance, Generation: 1}},
		{"trash", with(ready, func(c *state.Clone) { c.Generation, c.Claimed, c.Trash = 2, 2, []int64{1} }), parts{2: running}, Action{Kind: RemoveInstance, Generation: 1}},
		{"trash without instance", with(ready, func(c *state.Clone) { c.Generation, c.Claimed, c.Trash = 2, 2, []int64{1} }), parts{2: running, 1: stopped}, Action{Kind: DestroyVolume, Generation: 1}},
		{"trash that others descend from", with(ready, func(c *state.Clone) { c.Generation, c.Claimed, c.Trash = 2, 2, []int64{1} }), parts{2: running, 1: {volume: present, instance: absent, kept: true}}, Action{}},
		{"no trash left", with(ready, func(c *state.Clone) { c.Generation, c.Claimed, c.Trash = 2, 2, []int64{1} }), parts{2: running, 1: {volume: absent, instance: absent}}, Action{Kind: DropTrash, Generation: 1}},

		{"crashed, due", with(crashed, func(c *state.Clone) { c.NextRestart = noon }), parts{1: exited}, Action{Kind: StartInstance, Generation: 1}},
		{"crashed, not due", with(crashed, func(c *state.Clone) { c.NextRestart = noon.Add(time.Second) }), parts{1: exited}, Action{Kind: Wait, At: noon.Add(time.Second)}},
		{"crashed, and the clock was set back", with(crashed, func(c *state.Clone) { c.NextRestart = later }), parts{1: exited}, Action{Kind: StartInstance, Generation: 1}},
		{"crashed, running again", crashed, parts{1: running}, Action{Kind: AwaitReady, Generation: 1}},
		{"crashed, answering again", crashed, parts{1: up}, Action{Kind: Settle, Generation: 1}},
		{"with another port", with(crashed, func(c *state.Clone) { c.Renew = true }), parts{1: exited}, Action{Kind: RemoveInstance, Generation: 1}},

		{"to be suspended", with(ready, func(c *state.Clone) { c.Suspend, c.State = true, state.CloneSuspending }), parts{1: running}, Action{Kind: StopInstance, Generation: 1}},
		{"stopped", with(ready, func(c *state.Clone) { c.Suspend, c.State = true, state.CloneSuspending }), parts{1: exited}, Action{Kind: RemoveInstance, Generation: 1}},
		{"without instance", with(ready, func(c *state.Clone) { c.Suspend, c.State = true, state.CloneSuspending }), parts{1: stopped}, Action{Kind: Settle, Generation: 1}},
		{"suspended", with(ready, func(c *state.Clone) { c.Suspend, c.State = true, state.CloneSuspended }), parts{1: stopped}, Action{}},
		{"suspended, but it runs", with(ready, func(c *state.Clone) { c.Suspend, c.State = true, state.CloneSuspended }), parts{1: running}, Action{Kind: StopInstance, Generation: 1}},

		{"a reset begins", resetting, parts{}, Action{Kind: MakeVolume, Generation: 2}},
		{"the old one has to make room", resetting, parts{2: {volume: present}}, Action{Kind: StopInstance, Generation: 1}},
		{"it has", resetting, parts{1: exited, 2: {volume: present}}, Action{Kind: StartInstance, Generation: 2}},
		{"the new one runs", resetting, parts{1: exited, 2: up}, Action{Kind: Claim, Generation: 2}},
		{"a suspended clone's reset", with(resetting, func(c *state.Clone) { c.Suspend = true }), parts{2: {volume: present}}, Action{Kind: Switch, Generation: 2}},
		{"trash has to make room too", with(creating, func(c *state.Clone) { c.Next, c.Trash = 2, []int64{1} }), parts{2: {volume: present}}, Action{Kind: RemoveInstance, Generation: 1}},

		{"a snapshot is asked for", with(ready, func(c *state.Clone) { c.Taking = []string{"s"} }), parts{1: running}, Action{Kind: TakeSnapshot, Generation: 1}},
		{"before a reset", with(resetting, func(c *state.Clone) { c.Taking = []string{"s"} }), parts{}, Action{Kind: TakeSnapshot, Generation: 1}},
		{"frozen", ready, parts{1: {volume: present, instance: present, running: true, frozen: true}}, Action{Kind: ThawInstance, Generation: 1}},
		{"a fork of what is being taken", creating, parts{1: {awaits: true}}, Action{}},

		{"a failed create", state.Clone{State: state.CloneFailed}, parts{}, Action{}},
		{"deleted", with(resetting, func(c *state.Clone) { c.State = state.CloneDeleting }), parts{}, Action{Kind: RemoveInstance, Generation: 1}},
		{"deleted, no instances", with(resetting, func(c *state.Clone) { c.State = state.CloneDeleting }), parts{1: stopped, 2: stopped}, Action{Kind: DestroyVolume, Generation: 1}},
		{"deleted, one kept", with(resetting, func(c *state.Clone) { c.State = state.CloneDeleting }), parts{1: {instance: absent, volume: present, kept: true}, 2: stopped}, Action{Kind: DestroyVolume, Generation: 2}},
		{"deleted, nothing left", with(ready, func(c *state.Clone) { c.State = state.CloneDeleting }), parts{1: {volume: absent, instance: absent}}, Action{Kind: Forget}},
	} {
		if got := planClone(test.c, test.o, noon); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.what, got, test.want)
		}
	}
}

// TestPlanConverges applies plan after plan to every combination of a record and
// what can be there of it, and holds that it comes to rest where it should.
func TestPlanConverges(t *testing.T) {
	t.Parallel()
	states := []state.CloneState{
		state.CloneCreating, state.CloneReady, state.CloneStarting, state.CloneCrashed, state.CloneResetting,
		state.CloneSuspending, state.CloneSuspended, state.CloneFailed, state.CloneDeleting,
	}
	kinds := []part{
		{}, {volume: absent, instance: absent}, {volume: present, instance: absent}, {volume: present, instance: present},
		{volume: present, instance: present, running: true}, {volume: absent, instance: present, running: true},
		{volume: present, instance: present, running: true, frozen: true},
	}
	n := 0
	for _, s := range states {
		for _, generation := range []int64{0, 1} {
			for _, next := range []int64{0, 2} {
				// Before there is a generation, no other records are ever written.
				making, failed := s == state.CloneCreating && next != 0, s == state.CloneFailed && next == 0
				if generation == 0 && !making && !failed && s != state.CloneDeleting {
					continue
				}
				for flags := range 128 {
					for _, p1 := range kinds {
						for _, p2 := range kinds {
							for _, p3 := range kinds {
								c := state.Clone{ID: "x", State: s, Generation: generation, Next: next, LastGeneration: 3, Claimed: int64(flags >> 2 & 1)}
								c.Suspend, c.Renew = flags&1 != 0, flags&2 != 0
								if flags&8 != 0 {
									c.Trash = []int64{3}
								}
								if flags&16 != 0 && generation != 0 {
									c.Taking = []string{"s"}
								}
								if flags&32 != 0 && flags&8 == 0 {
									c.Kept = []state.KeptGeneration{{Generation: 3, Until: noon.Add(time.Hour), Settled: flags&1 != 0}}
								}
								if flags&64 != 0 {
									if s != state.CloneDeleting || generation == 0 || next != 0 {
										continue
									}
									c.KeptUntil, c.Taking = noon.Add(time.Hour), nil
								}
								o := parts{1: p1, 2: p2, 3: p3}
								maps.DeleteFunc(o, func(g int64, _ part) bool { return !slices.Contains(c.Generations(), g) })
								converge(t, c, o)
								if n++; t.Failed() {
									return
								}
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d combinations", n)
}

func converge(t *testing.T, c state.Clone, o parts) {
	t.Helper()
	begin, now := fmt.Sprintf("%+v %+v", c, o), noon
	if c.Next == 0 && c.Generation != 0 && c.State != state.CloneDeleting && o[1].volume == unknown {
		return // an owner looks at what it keeps
	}
	for range 20 {
		a := planClone(c, o, now)
		p := o[a.Generation]
		switch a.Kind {
		case None:
			atRest(t, begin, c, o)
			return
		case Wait:
			now = a.At
		case MakeVolume:
			p.volume = present
		case DestroyVolume:
			p.volume = absent
			if !c.KeptUntil.IsZero() && a.Generation == c.Generation || c.IsKept(a.Generation) && c.State != state.CloneDeleting {
				t.Errorf("%s: a kept volume is destroyed", begin)
			}
			if p.running {
				t.Errorf("%s: the volume of a running instance is destroyed", begin)
			}
		case StartInstance:
			p.instance, p.running, p.fresh = present, true, true
			for g, other := range o {
				if g != a.Generation && other.running {
					t.Errorf("%s: %d is started while %d runs", begin, a.Generation, g)
				}
			}
		case TakeSnapshot:
			c.Taking = nil
			if c.State == state.CloneDeleting {
				t.Errorf("%s: a snapshot of a deleted clone is taken", begin)
			}
		case ThawInstance:
			p.frozen = false
		case AwaitReady:
			p.answered = true
		case Claim:
			p.claimed = true
		case StopInstance:
			p.instance, p.running, p.frozen = present, false, false
		case RemoveInstance:
			p.instance, p.running, p.frozen, p.fresh, p.answered = absent, false, false, false, false
		case Settle:
			c.Renew = false
			if c.Suspend {
				c.State = state.CloneSuspended
			} else {
				c.State, c.Claimed = state.CloneReady, c.Generation
			}
		case Switch:
			if c.Generation != 0 {
				c.Trash = append(c.Trash, c.Generation)
			}
			c.Generation, c.Next, c.Renew = c.Next, 0, false
			if c.Suspend {
				c.State = state.CloneSuspended
			} else {
				c.State, c.Claimed = state.CloneReady, c.Generation
			}
		case MarkCrash:
			c.State, c.NextRestart = state.CloneCrashed, now.Add(time.Second)
		case MarkLost:
			c.State = state.CloneFailed
		case SettleKept:
			c.Kept[0].Settled = true
			if p.instance != absent {
				t.Errorf("%s: %d is settled with %+v", begin, a.Generation, p)
			}
		case ForgetKept:
			if a.Generation == 0 {
				c.KeptUntil = time.Time{}
				break
			}
			c.Kept, c.Trash = nil, append(c.Trash, a.Generation)
		case DropTrash:
			c.Trash = slices.DeleteFunc(c.Trash, func(g int64) bool { return g == a.Generation })
			if p.volume != absent || p.instance != absent {
				t.Errorf("%s: %d is forgotten with %+v", begin, a.Generation, p)
			}
		case Forget:
			c.Generation, c.Next, c.Trash, c.Kept = 0, 0, nil, nil
			atRest(t, begin, c, o)
			return
		default:
			t.Fatalf("%s: %+v", begin, a)
		}
		o[a.Generation] = p
	}
	t.Errorf("%s: does not come to rest; now %+v %+v", begin, c, o)
}

func atRest(t *testing.T, begin string, c state.Clone, o parts) {
	t.Helper()
	p := o[c.Generation]
	switch c.State {
	case state.CloneReady:
		if p.volume != present || !p.running || p.frozen || c.Claimed != c.Generation {
			t.Errorf("%s: ready with %+v", begin, p)
		}
	case state.CloneSuspended:
		if p.volume != present || p.running {
			t.Errorf("%s: suspended with %+v", begin, p)
		}
	case state.CloneFailed:
		if c.Generation != 0 && p.volume == present {
			t.Errorf("%s: failed with %+v", begin, p)
		}
	case state.CloneDeleting:
		if c.Generation != 0 || c.Next != 0 || len(c.Trash)+len(c.Kept) > 0 {
			t.Errorf("%s: deleting for ever", begin)
		}
	default:
		if c.Generation != 0 || c.Next != 0 {
			t.Errorf("%s: comes to rest %s", begin, c.State)
		}
	}
}

func TestPlanPass(t *testing.T) {
	t.Parallel()
	id := func(letter string) string { return fmt.Sprintf("%s%s", letter, "aaaaaaaaa") }
	volumes := func(names ...string) (out []storage.Volume) {
		for _, n := range names {
			out = append(out, storage.Volume{ID: n})
		}
		return out
	}
	ready := state.Clone{ID: id("b"), Snapshot: id("s"), Generation: 2, Claimed: 2, LastGeneration: 2, State: state.CloneReady, Revision: 5}
	want := Want{
		Clones: []state.Clone{ready},
		Snapshots: []state.Snapshot{
			{ID: id("s"), State: state.SnapshotDeleting}, // in use
			{ID: id("d"), State: state.SnapshotDeleting}, // to be collected
			{ID: id("p"), State: state.SnapshotPreparing},
			{ID: id("l"), State: state.SnapshotPreparing}, // a refresh works on it
		},
		Live: map[string]bool{id("l"): true},
	}
	foreign := storage.SnapshotRef{Source: storage.Source{Foreign: "tank/x"}, ID: id("o")}
	observed := Observed{
		Since: 5,
		Inventory: storage.Inventory{
			Volumes: volumes("c-"+id("b")+"-2", "c-"+id("b")+"-1", "c-"+id("b")+"-3", "g-"+id("s"), "g-"+id("o"), "c-"+id("o")+"-1", "somebody"),
			Snapshots: []storage.Snapshot{
				{Ref: readyRef(id("s"))}, {Ref: foreign}, {Ref: readyRef(id("o"))},
				{Ref: storage.SnapshotRef{Source: storage.Own("g-" + id("s")), ID: "other"}},
			},
		},
		Instances: []container.Instance{
			{ID: "c-" + id("b") + "-2", State: container.Running}, {ID: "c-" + id("o") + "-1"},
			{ID: "t-" + id("o") + "-fill", Task: true}, {ID: "t-" + id("l") + "-fill", Task: true},
		},
	}
	plan := []Action{
		{Kind: Collect, Snapshot: id("d")}, {Kind: Collect, Snapshot: id("p")},
		{Kind: SweepInstance, Orphan: Orphan{Instance: "c-" + id("o") + "-1"}},
		{Kind: SweepInstance, Orphan: Orphan{Instance: "t-" + id("o") + "-fill"}},
		{Kind: SweepVolume, Orphan: Orphan{Volume: "c-" + id("b") + "-1"}},
		{Kind: SweepVolume, Orphan: Orphan{Volume: "c-" + id("o") + "-1"}},
		{Kind: SweepSnapshot, Orphan: Orphan{Snapshot: readyRef(id("o"))}},
		{Kind: SweepVolume, Orphan: Orphan{Volume: "g-" + id("o")}},
		{Kind: SweepSnapshot, Orphan: Orphan{Snapshot: foreign}},
	}
	same := func(what string, got, want any) {
		t.Helper()
		if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
			t.Errorf("%s:\n  got  %s\n  want %s", what, g, w)
		}
	}
	same("plan", Plan(want, observed, noon), plan)
	same("strangers", strangers(want, observed), []string{"volume c-" + id("b") + "-3", "volume somebody", "snapshot g-" + id("s") + "@other"})
	same("lost", len(lostSnapshots(Want{Snapshots: []state.Snapshot{{ID: id("q"), State: state.SnapshotReady}}}, observed)), 1)

	// A clone whose process ended is looked at; one that changed since is not.
	observed.Instances[0].State = container.Exited
	same("crash", Plan(want, observed, noon)[0], Action{Kind: MarkCrash, Clone: id("b"), Generation: 2})
	want.Clones[0].Revision = 6
	same("changed since", Plan(want, observed, noon)[0].Kind, Collect)
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for n, want := range []time.Duration{0, 1, 2, 4, 8, 16, 32, 60, 60} {
		if got := backoff(n); got != want*time.Second {
			t.Errorf("after %d failures: %v, want %v", n, got, want*time.Second)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for range 100 {
		id := newID()
		got, g, ok := parseCloneName(cloneName(id, 12))
		if !isID(id) || !ok || got != id || g != 12 || storage.CheckID(cloneName(id, 1<<62)) != nil {
			t.Fatalf("%s: %s %d %v", id, got, g, ok)
		}
	}
	for _, bad := range []string{"", "c-", "c-abc-1", "c-aaaaaaaaaa", "c-aaaaaaaaaa-0", "c-aaaaaaaaaa-01", "c-aaaaaaaaaa-1-2", "C-aaaaaaaaaa-1", "c-aaaaaaaaaa-x", "g-aaaaaaaaaa-1"} {
		if _, _, ok := parseCloneName(bad); ok {
			t.Errorf("%q is taken for a clone's", bad)
		}
	}
	for _, bad := range []string{"", "-a", "a-", "a/b", "..", "a@b", "a b", "A", "ä", "$(x)", "a;b", "a\n", string(make([]byte, 64))} {
		if checkName("name", bad) == nil {
			t.Errorf("%q is taken for a name", bad)
		}
	}
}
