package control_test

import (
	"context"
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/cloned-db/cloned/daemon/control"
)

// modelOp is something that a client asks for.
type modelOp struct {
	name string
	// patient: a client that is not answered asks again. An impatient one goes away.
	patient bool
	// last: what follows can't be told, for it is not waited for.
	last bool
	// pause before, in ms.
	pause int
	// do asks for it. What it chooses the first time it chooses again.
	do func(ctx context.Context, m *model, p *control.Plane) error
	// becomes changes the world as it should, or returns why it is refused.
	becomes func(w *modelWorld, k modelCall) (refused string)
}

// modelCall is what an operation depends on that its client does not decide.
type modelCall struct {
	at    span
	shop  string // what the newest snapshot of the shared golden holds
	fails bool   // it has failed, later
	keep  time.Duration
}

const (
	noClone    = "CLONE_NOT_FOUND"
	noGolden   = "GOLDEN_NOT_FOUND"
	noSnapshot = "SNAPSHOT_NOT_FOUND"
	nameTaken  = "NAME_TAKEN"
	failed     = "CLONE_FAILED"
	notReady   = "NOT_READY"
	// changed is what the client found out, and no error.
	changed = "TEST_CHANGED"
)

// refusals are the reasons that mean that nothing was done.
var refusals = map[string]bool{
	noClone: true, noGolden: true, noSnapshot: true, nameTaken: true, failed: true, notReady: true, changed: true,
	"SNAPSHOT_EXISTS": true, "NOTHING_TO_UNDO": true, "PROTECTED": true, "HAS_CLONES": true, "LAST_SNAPSHOT": true, "OTHER_GOLDEN": true,
}

// gaveWay is no answer: what failed before has given way to what has failed now.
const gaveWay = "TEST_GAVE_WAY"

// shared is the golden of all clients.
const shared = "shop"

// drawOp draws an operation of the client: on its clones a, b and h (a held one)
// and its golden g, and the shared golden.
func drawOp(t *rapid.T, client string) modelOp {
	name := client + "-" + rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name")
	other := client + "-a"
	if name == other {
		other = client + "-b"
	}
	golden, held := client+"-g", client+"-h"
	snap := rapid.SampledFrom([]string{"v1", "v2"}).Draw(t, "snapshot")
	yes := rapid.Bool().Draw(t, "yes")
	n := rapid.IntRange(0, 999).Draw(t, "n")
	kinds := []func() modelOp{
		func() modelOp { return createOp(control.CreateRequest{Name: name, Golden: shared, Owner: client}, yes) },
		func() modelOp {
			return createOp(control.CreateRequest{Name: name, Golden: shared, Owner: client, Protect: yes, TTL: 2 * time.Hour}, true)
		},
		func() modelOp {
			return createOp(control.CreateRequest{Name: name, Golden: golden, Owner: client}, true)
		},
		func() modelOp { return createOp(control.CreateRequest{Name: name, From: other, Owner: client}, yes) },
		func() modelOp {
			return createOp(control.CreateRequest{Name: name, From: other, Snapshot: snap, Owner: client}, true)
		},
		func() modelOp { return createOp(control.CreateRequest{Name: name, From: held, Owner: client}, true) },
		func() modelOp { return writeOp(name, fmt.Sprint(client, n)) },
		func() modelOp { return writeOp(held, fmt.Sprint(client, n)) },
		func() modelOp { return snapshotOp(name, snap) },
		func() modelOp { return dropSnapshotOp(name, snap) },
		func() modelOp { return resetOp(control.ResetRequest{Name: name, Now: n%4 == 0, Wait: yes}) },
		func() modelOp { return resetOp(control.ResetRequest{Name: name, Newest: true, Wait: true}) },
		func() modelOp { return resetOp(control.ResetRequest{Name: name, Snapshot: snap, Wait: true}) },
		func() modelOp { return resetOp(control.ResetRequest{Name: name, Clone: other, Wait: yes}) },
		func() modelOp { return undoOp(name) },
		func() modelOp { return suspendOp(name, yes) },
		func() modelOp { return updateOp(name, n) },
		func() modelOp { return deleteOp(name, n%4 == 0, yes) },
		func() modelOp { return deleteOp(held, false, true) },
		func() modelOp { return deleteAllOp(client, n%4 == 0) },
		func() modelOp { return changesOp(name) },
		func() modelOp { return leaseOp(held, client) },
		func() modelOp { return letGoOp(held) },
		func() modelOp { return publishOp(golden, name) },
		func() modelOp { return refreshOp(golden, "") },
		func() modelOp { return dropGoldenOp(golden) },
		func() modelOp { return dropOldestOp(golden) },
	}
	op := rapid.SampledFrom(kinds).Draw(t, "kind")()
	return op.drawn(t)
}

// drawSharedOp draws an operation on the shared golden; n is never the same.
func drawSharedOp(t *rapid.T, n int) modelOp {
	op := refreshOp(shared, fmt.Sprint("r", n))
	if rapid.Bool().Draw(t, "drop") {
		op = dropOldestOp(shared)
	}
	return op.drawn(t)
}

func (o modelOp) drawn(t *rapid.T) modelOp {
	o.patient = rapid.Bool().Draw(t, "patient")
	o.pause = rapid.IntRange(1, 20).Draw(t, "pause")
	return o
}

// onClone is what becomes of a clone that has to be there.
func onClone(name string, becomes func(*modelClone, *modelWorld, modelCall) string) func(*modelWorld, modelCall) string {
	return func(w *modelWorld, k modelCall) string {
		if c := w.clones[name]; c != nil {
			return becomes(c, w, k)
		}
		return noClone
	}
}

// onWhole is onClone for what a clone that has failed refuses.
func onWhole(name string, becomes func(*modelClone, *modelWorld, modelCall) string) func(*modelWorld, modelCall) string {
	return onClone(name, func(c *modelClone, w *modelWorld, k modelCall) string {
		if c.failed {
			return failed
		}
		return becomes(c, w, k)
	})
}
