package control

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// FoundOrphan is an orphan, and what helps to decide about it.
type FoundOrphan struct {
	// Name is what SweepOrphans knows it by: "volume c-…-1", "instance c-…-1",
	// "task t-…", "snapshot g-…@ready".
	Name string
	// Reason says which record it lacks.
	Reason string
	// UniqueBytes is what destroying it would free; -1 if the driver can't tell.
	UniqueBytes int64
	// Created is when it was made, for an instance when it was last started; zero
	// if that is not known.
	Created time.Time
}

// OrphanLeft is an orphan that was to be swept and was not, and why.
type OrphanLeft struct{ Name, Why string }

// ListOrphans looks at everything anew and returns what bears our mark and has no
// record, in the order in which it can be swept. It changes nothing. What a
// failed list has hidden is nowhere: then it is an error.
func (p *Plane) ListOrphans(ctx context.Context) ([]FoundOrphan, error) {
	observed, want, err := p.seeOrphans(ctx)
	if err != nil {
		return nil, err
	}
	k, made := known(want), madeAt(observed)
	var out []FoundOrphan
	for _, a := range planOrphans(want, observed) {
		o := a.Orphan
		usage, err := p.orphanUsage(ctx, o)
		switch {
		case errs.Is(err, errs.NotFound): // it has gone meanwhile
			continue
		case err != nil:
			usage = -1
		}
		out = append(out, FoundOrphan{Name: o.String(), Reason: k.reason(o), UniqueBytes: usage, Created: made[o]})
	}
	return out, nil
}

// SweepOrphans removes and destroys the orphans that are named, as ListOrphans
// named them, and nothing else, and says what was swept and what is left. Each is
// proved anew: what has a record, or is not seen, is left. Unlike the sweep of a
// pass it has no limit, for it is the operator's decision.
func (p *Plane) SweepOrphans(ctx context.Context, names []string) (swept []string, left []OrphanLeft, err error) {
	p.sweeping.Lock()
	defer p.sweeping.Unlock()
	observed, want, err := p.seeOrphans(ctx)
	if err != nil {
		return nil, nil, err
	}
	var todo []Orphan
	missing := slices.Clone(names)
	for _, a := range planOrphans(want, observed) {
		if i := slices.Index(missing, a.Orphan.String()); i >= 0 {
			todo, missing = append(todo, a.Orphan), slices.Delete(missing, i, i+1)
		}
	}
	for _, name := range missing {
		left = append(left, OrphanLeft{name, "it is no orphan now: it has gone, or has a record"})
	}
	swept, failed := p.sweepAll(ctx, todo)
	return swept, append(left, failed...), nil
}

// sweepAll sweeps what it can, and what was in the way of others first.
func (p *Plane) sweepAll(ctx context.Context, todo []Orphan) (swept []string, left []OrphanLeft) {
	for more := true; more; {
		more, left = false, nil
		var later []Orphan
		for _, o := range todo {
			err := ctx.Err()
			if err == nil {
				err = p.sweepOne(ctx, o)
			}
			if err != nil {
				later, left = append(later, o), append(left, OrphanLeft{o.String(), err.Error()})
				continue
			}
			swept, more = append(swept, o.String()), len(later) > 0
		}
		todo = later
	}
	return swept, left
}

// seeOrphans observes, and then reads the records: so what has none is an orphan.
func (p *Plane) seeOrphans(ctx context.Context) (Observed, Want, error) {
	if err := p.open(ctx); err != nil {
		return Observed{}, Want{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	observed, err := p.list(ctx)
	if err != nil {
		return Observed{}, Want{}, err
	}
	want := p.want()
	if len(want.Clones)+len(want.Snapshots)+len(want.Live)+len(p.store.View().Goldens()) == 0 {
		err = missing(observed) // to it all there is would be an orphan
	}
	return observed, want, err
}

// reason says which record an orphan lacks.
func (k knowledge) reason(o Orphan) string {
	name := o.Instance + o.Volume
	if o.Snapshot.ID != "" {
		name = o.Snapshot.Source.Volume
	}
	if id, ok := parseTask(name); ok {
		return fmt.Sprintf("no refresh makes snapshot %s", id)
	}
	if id, ok := parseGoldenVolume(name); ok {
		return fmt.Sprintf("no golden has a snapshot %s", id)
	}
	if o.Snapshot.ID != "" {
		return fmt.Sprintf("there is no snapshot %s", o.Snapshot.ID)
	}
	id, generation, _ := parseCloneName(name)
	c, has := k.clones[id]
	switch {
	case !has:
		return fmt.Sprintf("there is no clone of the ID %s", id)
	case c.State == state.CloneDeleting:
		return fmt.Sprintf("clone %s is deleted, and keeps no generation %d", c.Name, generation)
	default:
		return fmt.Sprintf("clone %s has no generation %d any more", c.Name, generation)
	}
}

func (p *Plane) orphanUsage(ctx context.Context, o Orphan) (int64, error) {
	switch {
	case o.Volume != "":
		usage, err := p.cfg.Driver.Usage(ctx, o.Volume)
		return usage.Unique, err
	case o.Snapshot.ID != "":
		usage, err := p.cfg.Driver.SnapshotUsage(ctx, o.Snapshot)
		return usage.Unique, err
	default:
		return 0, nil
	}
}

// madeAt is when each thing was made.
func madeAt(observed Observed) map[Orphan]time.Time {
	made := map[Orphan]time.Time{}
	for _, v := range observed.Inventory.Volumes {
		made[Orphan{Volume: v.ID}] = v.Created
	}
	for _, s := range observed.Inventory.Snapshots {
		made[Orphan{Snapshot: s.Ref}] = s.Created
	}
	for _, i := range observed.Instances {
		made[Orphan{Instance: i.ID}] = i.Started
	}
	return made
}
