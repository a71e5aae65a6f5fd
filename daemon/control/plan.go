package control

import (
	"slices"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/state"
)

// Kind says what an Action does. It labels metrics.
type Kind string

const (
	// None: all is as wanted.
	None Kind = ""
	// Wait: nothing to do before Action.At.
	Wait Kind = "wait"

	// What changes the world.
	MakeVolume     Kind = "make-volume"
	DestroyVolume  Kind = "destroy-volume"
	StartInstance  Kind = "start-instance"
	AwaitReady     Kind = "await-ready"
	Claim          Kind = "claim"
	TakeSnapshot   Kind = "take-snapshot"
	ThawInstance   Kind = "thaw-instance"
	StopInstance   Kind = "stop-instance"
	RemoveInstance Kind = "remove-instance"

	// What writes down how it is.
	Settle    Kind = "settle"     // the present generation is as wanted: ready, or suspended
	Switch    Kind = "switch"     // the next generation becomes the present one
	MarkCrash Kind = "mark-crash" // the instance ended by itself
	MarkLost  Kind = "mark-lost"  // the volume has vanished
	Expire    Kind = "expire"     // its time is over
	DropTrash Kind = "drop-trash" // nothing is left of a generation
	Forget    Kind = "forget"     // nothing is left of the clone

	SettleKept Kind = "settle-kept" // nothing is left of a kept generation's instance
	ForgetKept Kind = "forget-kept" // what is kept can't be brought back any longer

	// What a pass finds besides clones.
	Collect       Kind = "collect"        // a snapshot that nobody wants
	SweepInstance Kind = "sweep-instance" // orphans
	SweepVolume   Kind = "sweep-volume"
	SweepSnapshot Kind = "sweep-snapshot"
)

// Action is one thing to do about a clone, a snapshot or an orphan.
type Action struct {
	Kind Kind
	// Clone and Generation say to which clone, by ID.
	Clone      string
	Generation int64
	// At is when a Wait is over.
	At time.Time
	// Snapshot is the ID for Collect.
	Snapshot string
	// Orphan for the sweeps.
	Orphan Orphan
}

// presence is what is known of a thing outside.
type presence int

const (
	unknown presence = iota
	absent
	present
)

// part is what is known of one generation of a clone. What is unknown is made
// or removed all the same: those calls are idempotent.
type part struct {
	volume   presence
	path     string // of the volume, if known
	instance presence
	observed container.Instance // as far as looked at
	running  bool
	fresh    bool // started by this run of the owner, hence as the record says
	answered bool
	claimed  bool
	frozen   bool
	kept     bool // its volume can't be destroyed now, for others descend from it
	awaits   bool // what it is to be cloned from is still being taken
}

// parts is what is known of a clone, by generation.
type parts map[int64]part

// maxBackoff bounds the wait before a crashed instance is started again.
const maxBackoff = time.Minute

// steadyAfter is how long an instance must have answered for its next crash to
// count as the first.
const steadyAfter = 10 * time.Minute

// backoff is the wait before the restart that follows on n failed ones.
func backoff(n int) time.Duration {
	switch {
	case n <= 0:
		return 0
	case n > 6:
		return maxBackoff
	default:
		return min(time.Second<<(n-1), maxBackoff)
	}
}

// planClone compares a clone's record with what is known of its parts and says
// what to do next: one action, after which it is asked again. It is the only
// place that decides about a clone, on the way of a request as in recovery.
func planClone(c state.Clone, o parts, now time.Time) Action {
	a := planWanted(c, o, now)
	a.Clone = c.ID
	if (a.Kind == None || a.Kind == Wait) && c.State != state.CloneDeleting && !c.Protect && !c.Expires.IsZero() {
		if a.Kind == None || c.Expires.Before(a.At) {
			a.At = c.Expires
		}
		a.Kind = Wait
	}
	return a
}

func planWanted(c state.Clone, o parts, now time.Time) Action {
	expired := !c.Expires.IsZero() && !now.Before(c.Expires)
	switch {
	case c.State == state.CloneDeleting && !c.KeptUntil.IsZero():
		return planRetired(c, o, now)
	case c.State == state.CloneDeleting:
		return planRemoval(c.Generations(), o, Action{Kind: Forget})
	case expired && !c.Protect:
		return Action{Kind: Expire}
	case len(c.Taking) > 0:
		return Action{Kind: TakeSnapshot, Generation: c.Generation}
	case c.Next != 0:
		return planNext(c, o)
	}
	a := Action{}
	if c.Generation != 0 {
		a = planPresent(c, o, now)
	}
	if a.Kind != None && a.Kind != Wait {
		return a
	}
	for _, g := range c.Trash {
		if t := planRemoval([]int64{g}, o, Action{Kind: DropTrash, Generation: g}); t.Kind != None {
			return t
		}
	}
	switch k := planKept(c, o, now); {
	case k.Kind == None, k.Kind == Wait && a.Kind == Wait && a.At.Before(k.At):
		return a
	default:
		return k
	}
}

// planRemoval removes generations and then does what comes last. While others
// descend from one of them, the rest is dropped from the record: it no longer
// holds what it came from, which may descend from the one that stays.
func planRemoval(generations []int64, o parts, last Action) Action {
	for _, g := range generations {
		if o[g].instance != absent {
			return Action{Kind: RemoveInstance, Generation: g}
		}
	}
	stays, gone := false, int64(0)
	for _, g := range generations {
		switch {
		case o[g].kept:
			stays = true
		case o[g].volume != absent:
			return Action{Kind: DestroyVolume, Generation: g}
		default:
			gone = g
		}
	}
	switch {
	case stays && gone != 0:
		return Action{Kind: DropTrash, Generation: gone}
	case stays:
		return Action{}
	}
	return last
}

// planNext brings the next generation up and switches to it. For a suspended
// clone it is switched to as soon as its volume is there: it is a clone of a
// prepared snapshot, and is started and claimed when the clone is resumed.
func planNext(c state.Clone, o parts) Action {
	switch {
	case o[c.Next].awaits:
		return Action{}
	case o[c.Next].volume != present:
		return Action{Kind: MakeVolume, Generation: c.Next}
	}
	if !c.Suspend {
		if a := planRun(c, c.Next, o); a.Kind != None {
			return a
		}
	}
	return Action{Kind: Switch, Generation: c.Next}
}

// planPresent keeps the present generation as it is wanted.
func planPresent(c state.Clone, o parts, now time.Time) Action {
	g := c.Generation
	p := o[g]
	switch {
	case p.volume != present:
		if c.State == state.CloneFailed {
			return Action{}
		}
		return Action{Kind: MarkLost, Generation: g}
	case p.frozen: // by a daemon that died
		return Action{Kind: ThawInstance, Generation: g}
	case c.Suspend:
		return planSuspended(c, p)
	case c.State == state.CloneReady && !p.running:
		return Action{Kind: MarkCrash, Generation: g}
	case c.State == state.CloneReady && c.Claimed == g && !c.Renew:
		return Action{}
	case c.State == state.CloneCrashed && !restartDue(c, now):
		return Action{Kind: Wait, At: c.NextRestart}
	}
	if a := planRun(c, g, o); a.Kind != None {
		return a
	}
	return Action{Kind: Settle, Generation: g}
}

func planSuspended(c state.Clone, p part) Action {
	switch {
	case p.instance != absent && p.running:
		return Action{Kind: StopInstance, Generation: c.Generation}
	case p.instance != absent:
		return Action{Kind: RemoveInstance, Generation: c.Generation}
	case c.State != state.CloneSuspended:
		return Action{Kind: Settle, Generation: c.Generation}
	}
	return Action{}
}

// planRun brings a generation's instance up until it answers and has its
// credentials. Only one generation runs at a time, for they share the port.
func planRun(c state.Clone, g int64, o parts) Action {
	p := o[g]
	if c.Renew && !p.fresh && p.instance != absent {
		return Action{Kind: RemoveInstance, Generation: g}
	}
	if !p.running {
		for _, other := range c.Generations() {
			switch {
			case other == g || o[other].instance == absent:
			case slices.ContainsFunc(c.Kept, func(k state.KeptGeneration) bool { return k.Generation == other && k.Settled }):
			case slices.Contains(c.Trash, other), c.IsKept(other) && other != c.Next:
				return Action{Kind: RemoveInstance, Generation: other}
			case o[other].running || o[other].instance == unknown:
				return Action{Kind: StopInstance, Generation: other}
			}
		}
		return Action{Kind: StartInstance, Generation: g}
	}
	switch {
	case !p.answered:
		return Action{Kind: AwaitReady, Generation: g}
	case c.Claimed != g && !p.claimed:
		return Action{Kind: Claim, Generation: g}
	}
	return Action{}
}

// restartDue says whether it is time to start a crashed clone. A wait longer
// than the longest means that the clock was set back.
func restartDue(c state.Clone, now time.Time) bool {
	wait := c.NextRestart.Sub(now)
	return wait <= 0 || wait > maxBackoff
}
