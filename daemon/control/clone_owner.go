package control

import (
	"context"
	"errors"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// errStale says that a record changed after it was planned on: plan again.
var errStale = errors.New("the record changed meanwhile")

// ownClone is the one way in which anything happens to a clone: look at its
// parts if need be, plan, do one thing, write the outcome, and again until
// nothing is left to do. It returns when to look again.
func (p *Plane) ownClone(ctx context.Context, id string) time.Time {
	run := &cloneRun{p: p, id: id}
	defer run.end()
	var known parts
	for ctx.Err() == nil {
		c, ok := p.store.View().Clone(id)
		if !ok {
			return time.Time{}
		}
		planned := p.byClock(c)
		if known == nil {
			var err error
			if known, err = p.look(ctx, c); err != nil {
				return run.giveUp(ctx, c, "look", err)
			}
		}
		view := p.store.View()
		next, _ := view.Snapshot(c.NextSnapshot)
		known.note(c, view.CloneSnapshots(id), next)
		a := planClone(planned, known, p.now())
		if known[c.Next].awaits {
			p.owners.wake(cloneKey(next.Clone))
		}
		if a.Kind == None || a.Kind == Wait {
			run.tellKept(c, known)
			if c.Next == 0 { // else it waits for what it is to be cloned from
				p.drop(id)
			}
			return a.At
		}
		err := run.apply(ctx, c, known, a)
		p.metrics.Action(string(a.Kind), result(err))
		switch {
		case (err == nil || errors.Is(err, errStale)) && a.Kind == TakeSnapshot && len(known) == 0:
			known = nil // nothing was looked at before
		case err == nil || errors.Is(err, errStale):
		case ctx.Err() != nil:
			return time.Time{}
		default:
			known = nil // what the failed action has left is not known
			if err := run.failed(c, a, err); err != nil && !errors.Is(err, errStale) {
				return run.giveUp(ctx, c, string(a.Kind), err)
			}
		}
	}
	return time.Time{}
}

// look finds out what is there of a clone that is to be kept as it is. For
// everything else nothing need be known: making and removing are idempotent. A
// snapshot is taken before anything else is done about a clone.
func (p *Plane) look(ctx context.Context, c state.Clone) (parts, error) {
	known := parts{}
	if c.State == state.CloneDeleting || c.Next != 0 || c.Generation == 0 || len(c.Taking) > 0 {
		return known, nil
	}
	name := cloneName(c.ID, c.Generation)
	v, err := p.stat(ctx, name)
	now := part{volume: present, path: v.Path}
	if errs.Is(err, errs.NotFound) {
		now.volume, err = absent, nil
	}
	if err != nil {
		return nil, err
	}
	i, err := p.inspect(ctx, name)
	now.see(i)
	if errs.Is(err, errs.NotFound) {
		now.instance, now.running, err = absent, false, nil
	}
	if err != nil {
		return nil, err
	}
	known[c.Generation] = now
	return known, nil
}

// cloneRun is one turn of a clone's owner.
type cloneRun struct {
	p    *Plane
	id   string
	slot bool // holds one of Plane.restarts
}

func (r *cloneRun) end() {
	if r.slot {
		<-r.p.restarts
	}
}

// giveUp ends a turn on something that only time can mend: the next pass looks
// again. The record says what is wanted, so nothing is lost.
func (r *cloneRun) giveUp(ctx context.Context, c state.Clone, doing string, err error) time.Time {
	if ctx.Err() != nil {
		return time.Time{}
	}
	r.p.log.Warn("clone waits", "clone", c.Name, "id", c.ID, "doing", doing, "error", err, "request", r.p.requestOf(c.ID))
	r.p.waiters.tell(cloneKey(c.ID), news{clone: &c, err: err})
	r.p.tellTakers(c, err)
	return time.Time{}
}

// tellKept tells those who wait for a deletion that the rest of it waits for
// descendants, or to be brought back. All instances are gone by then, so the port
// is free.
func (r *cloneRun) tellKept(c state.Clone, known parts) {
	kept := !c.KeptUntil.IsZero()
	for _, part := range known {
		kept = kept || part.kept
	}
	if !kept || c.State != state.CloneDeleting {
		return
	}
	r.p.letPortGo(c.ID, c.Port)
	if r.p.requestOf(c.ID) != "" {
		r.p.finish(c, "clone deleted, its volume kept", nil)
	}
	r.p.waiters.tell(cloneKey(c.ID), news{clone: &c, err: errKept})
}

// failed writes down what the failure of an action means for the clone. It
// returns err if it means nothing but that it has to be tried again.
func (r *cloneRun) failed(c state.Clone, a Action, err error) error {
	switch a.Kind {
	case MakeVolume, StartInstance, AwaitReady, Claim, StopInstance:
		e := inPhase(phaseOf(a.Kind), err)
		if c.Next != 0 {
			return r.dropNext(c, e)
		}
		if a.Kind != StopInstance {
			return r.markNotStarted(c, e)
		}
	}
	return err
}

// phaseOf says which phase of an operation an action is; "" if none.
func phaseOf(k Kind) string {
	switch k {
	case MakeVolume:
		return PhaseVolume
	case StartInstance:
		return PhaseStart
	case AwaitReady:
		return PhaseReady
	case Claim:
		return PhaseClaim
	case StopInstance:
		return PhaseStop
	case RemoveInstance:
		return PhaseRemove
	case DestroyVolume:
		return PhaseDestroy
	default:
		return ""
	}
}
