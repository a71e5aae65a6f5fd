package control

import (
	"context"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// watchBatch is how many events are taken from the store at once.
const watchBatch = 256

// Watch reports changes of clones after the revision from; from 0 first a put
// of each clone present, of which only the last has a revision, for one can't go
// on in the middle of them. Events are selected by the clone as it is in them.
// errs.Conflict (REVISION_EXPIRED) if what came after the revision is no longer
// kept: then list and watch anew. The channel is closed when ctx ends, or when
// the consumer is so slow that events it has not had are no longer kept; the
// func then says why.
func (p *Plane) Watch(ctx context.Context, from uint64, f CloneFilter) (<-chan Event, func() error, error) {
	view := p.store.View()
	var first []Event
	if from == 0 {
		from = view.Revision()
		for c := range caller(ctx).byName(view, "") {
			if f.matches(c) {
				first = append(first, Event{Type: EventPut, Clone: c})
			}
		}
		if n := len(first); n > 0 {
			first[n-1].Revision = from
		}
	} else if _, complete := view.EventsAfter(from, 1); !complete {
		return nil, nil, errs.New(errs.Conflict, "REVISION_EXPIRED", "what changed after revision %d is no longer kept", from).
			WithHint("watch from revision 0 again")
	}
	w := &watch{p: p, who: caller(ctx), filter: f, at: from, out: make(chan Event)}
	started := p.owners.start(func() {
		defer close(w.out)
		w.err = w.run(ctx, first)
	})
	if !started {
		return nil, nil, errStopping()
	}
	return w.out, func() error { return w.err }, nil
}

// watch follows the store's events. err may be read once out is closed.
type watch struct {
	p      *Plane
	who    Caller
	filter CloneFilter
	at     uint64
	out    chan Event
	err    error
}

func (w *watch) run(ctx context.Context, first []Event) error {
	for _, e := range first {
		if err := w.send(ctx, e); err != nil {
			return err
		}
	}
	for {
		changed := w.p.store.Changed() // taken before the look, so that no change is missed
		events, complete := w.p.store.View().EventsAfter(w.at, watchBatch)
		if !complete {
			return errs.New(errs.Unavailable, "SLOW_CONSUMER", "the watch fell behind and was ended").
				WithHint("watch again, and take events faster")
		}
		for _, e := range events {
			w.at = e.Revision
			f := w.filter
			if e.Deleted {
				f.State = "" // whatever it was watched for, it is gone
			}
			if !w.who.sees(e.Clone) || !f.matches(e.Clone) {
				continue
			}
			if err := w.send(ctx, event(e)); err != nil {
				return err
			}
		}
		if len(events) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-w.p.ctx.Done():
			return errStopping()
		}
	}
}

func (w *watch) send(ctx context.Context, e Event) error {
	select {
	case w.out <- e:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-w.p.ctx.Done():
		return errStopping()
	}
}

func event(e state.Event) Event {
	t := EventPut
	if e.Deleted {
		t = EventDelete
	}
	return Event{Revision: e.Revision, Type: t, Clone: e.Clone}
}
