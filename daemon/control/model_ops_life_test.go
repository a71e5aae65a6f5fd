package control_test

import (
	"context"
	"fmt"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
)

func createOp(req control.CreateRequest, wait bool) modelOp {
	req.Wait = wait
	spec := fmt.Sprintf("%+v", req.Name+req.Golden+req.From+req.Snapshot+fmt.Sprint(req.Protect, req.TTL, req.Held))
	return modelOp{
		name: fmt.Sprintf("create %+v", req), last: !wait,
		do: func(ctx context.Context, _ *model, p *control.Plane) error {
			_, _, err := p.CreateClone(ctx, req)
			if err == nil {
				_, err = p.GetClone(ctx, req.Name)
				err = visible(err)
			}
			return err
		},
		becomes: func(w *modelWorld, k modelCall) string {
			if c := w.clones[req.Name]; c != nil && !c.failed {
				if c.spec == spec {
					return ""
				}
				return nameTaken
			}
			c := &modelClone{golden: req.Golden, spec: spec, protect: req.Protect, held: req.Held, snaps: map[string]string{}, expires: k.at.after(req.TTL)}
			switch from, g := w.clones[req.From], w.goldens[req.Golden]; {
			case req.Golden == shared:
				c.now.content = k.shop
			case req.Golden != "" && g == nil:
				return noGolden
			case req.Golden != "":
				c.now.content = newest(g)
			case from == nil:
				return noClone
			case req.Snapshot != "" && from.snapshot(req.Snapshot) == "":
				return noSnapshot
			case req.Snapshot != "":
				c.golden, c.now.content = from.golden, from.snapshot(req.Snapshot)
			case from.failed:
				return failed
			default:
				c.golden, c.now.content = from.golden, from.now.content
			}
			c.now.origin = c.now.content
			if k.fails && wait {
				delete(w.clones, req.Name)
				return gaveWay
			}
			c.failed = k.fails
			w.clones[req.Name] = c
			return ""
		},
	}
}

// visible: what was acknowledged must be seen at once.
func visible(err error) error {
	if err != nil {
		return errs.New(errs.Internal, brokenPromise, "what was acknowledged is not there: %w", err)
	}
	return nil
}

// brokenPromise is a reason that no fault excuses.
const brokenPromise = "TEST_BROKEN"

func undoOp(name string) modelOp {
	return modelOp{
		name: "undo " + name,
		do: func(ctx context.Context, _ *model, p *control.Plane) error {
			c, err := p.UndoClone(ctx, name, 0)
			if err == nil {
				_, err = p.GetClone(ctx, c.Name)
				err = visible(err)
			}
			return err
		},
		becomes: func(w *modelWorld, k modelCall) string {
			c, dead := w.clones[name], w.deleted[name]
			last := len(dead) - 1
			switch {
			case c == nil && last < 0:
				return noClone
			case c == nil:
				c, w.deleted[name] = dead[last], dead[:last]
				c.now.until = span{}
				if soon := k.at.after(time.Hour); !c.expires.to.IsZero() && c.expires.from.Before(soon.to) {
					c.expires = soon
				}
				w.clones[name] = c
			case len(c.kept) == 0 && last >= 0:
				return nameTaken
			case c.failed:
				return failed
			case len(c.kept) == 0:
				return "NOTHING_TO_UNDO"
			default:
				top := c.kept[len(c.kept)-1]
				c.kept = c.kept[:len(c.kept)-1]
				c.replace(top, k.at, k.keep)
			}
			return ""
		},
	}
}

func deleteOp(name string, now, wait bool) modelOp {
	return modelOp{
		name: fmt.Sprintf("delete %s, now %v, wait %v", name, now, wait),
		do: func(ctx context.Context, _ *model, p *control.Plane) error {
			before, _ := p.GetClone(ctx, name)
			err := p.DeleteClone(ctx, control.DeleteRequest{Name: name, Now: now, Wait: wait})
			if after, getErr := p.GetClone(ctx, name); err == nil && getErr == nil && after.ID == before.ID {
				err = visible(fmt.Errorf("%s was deleted, and is there", name))
			}
			return err
		},
		becomes: func(w *modelWorld, k modelCall) string {
			keep := k.keep
			if now {
				keep = 0
			}
			switch c := w.clones[name]; {
			case c == nil && now && len(w.deleted[name]) > 0:
				delete(w.deleted, name)
			case c == nil:
				return noClone
			case c.protect:
				return "PROTECTED"
			default:
				w.remove(name, k.at, keep)
			}
			return ""
		},
	}
}

func deleteAllOp(owner string, now bool) modelOp {
	return modelOp{
		name: fmt.Sprintf("delete all of %s, now %v", owner, now),
		do: func(ctx context.Context, _ *model, p *control.Plane) error {
			_, _, err := p.DeleteClones(ctx, control.CloneFilter{Owner: owner}, now)
			return err
		},
		becomes: func(w *modelWorld, k modelCall) string {
			keep := k.keep
			if now {
				keep = 0
			}
			for name, c := range w.clones {
				if !c.protect {
					w.remove(name, k.at, keep)
				}
			}
			return ""
		},
	}
}

func leaseOp(name, owner string) modelOp {
	op := createOp(control.CreateRequest{Name: name, Golden: shared, Owner: owner, Held: true}, true)
	create := op.do
	op.do = func(ctx context.Context, m *model, p *control.Plane) error {
		if err := create(ctx, m, p); err != nil {
			return err
		}
		return m.hold(ctx, name)
	}
	return op
}

// letGoOp ends a lease: some time later the clone is gone.
func letGoOp(name string) modelOp {
	return modelOp{
		name: "let go of " + name, last: true,
		do:      func(_ context.Context, m *model, _ *control.Plane) error { m.letGo(name); return nil },
		becomes: func(*modelWorld, modelCall) string { return "" },
	}
}
