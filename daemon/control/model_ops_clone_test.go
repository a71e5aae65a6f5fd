package control_test

import (
	"context"
	"fmt"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

func writeOp(name, content string) modelOp {
	return modelOp{
		name: "write " + name,
		do: func(ctx context.Context, m *model, p *control.Plane) error {
			c, err := p.GetClone(ctx, name)
			if err == nil && c.State != state.CloneReady {
				err = errs.New(errs.Precondition, notReady, "%s is %s", name, c.State)
			}
			if err == nil {
				m.rig.write(c, content)
			}
			return err
		},
		becomes: onClone(name, func(c *modelClone, _ *modelWorld, _ modelCall) string {
			if c.suspended || c.failed {
				return notReady
			}
			c.now.content = content
			return ""
		}),
	}
}

func snapshotOp(name, snap string) modelOp {
	return modelOp{
		name: "snapshot " + name + " " + snap,
		do: func(ctx context.Context, _ *model, p *control.Plane) error {
			_, _, err := p.SnapshotClone(ctx, control.SnapshotRequest{Clone: name, Name: snap})
			return err
		},
		becomes: onWhole(name, func(c *modelClone, _ *modelWorld, _ modelCall) string {
			if c.snaps[snap] != "" {
				return "SNAPSHOT_EXISTS"
			}
			c.snaps[snap] = c.now.content
			return ""
		}),
	}
}

func dropSnapshotOp(name, snap string) modelOp {
	var id string
	return modelOp{
		name: "delete snapshot " + name + " " + snap,
		do: func(ctx context.Context, _ *model, p *control.Plane) error {
			if id == "" {
				c, err := p.GetClone(ctx, name)
				if err != nil {
					return err
				}
				list, err := p.Lineage(ctx, name)
				if err != nil {
					return err
				}
				for _, s := range list {
					if s.Clone == c.ID && s.Name == snap {
						id = s.ID
					}
				}
			}
			return p.DeleteSnapshot(ctx, id) // "" is none
		},
		becomes: onClone(name, func(c *modelClone, _ *modelWorld, _ modelCall) string {
			if c.snaps[snap] == "" {
				return noSnapshot
			}
			delete(c.snaps, snap)
			return ""
		}),
	}
}

func resetOp(req control.ResetRequest) modelOp {
	return modelOp{
		name: fmt.Sprintf("reset %+v", req), last: !req.Wait,
		do: func(ctx context.Context, _ *model, p *control.Plane) error {
			_, err := p.ResetClone(ctx, req)
			return err
		},
		becomes: onWhole(req.Name, func(c *modelClone, w *modelWorld, k modelCall) string {
			to, own := c.now.origin, c.now.own
			if req.Newest || req.Snapshot+req.Clone != "" {
				own = req.Snapshot
			}
			switch from := w.clones[req.Clone]; {
			case req.Newest && c.golden == shared:
				to = k.shop
			case req.Newest:
				to = newest(w.goldens[c.golden])
			case req.Snapshot != "" && c.snapshot(req.Snapshot) == "":
				return noSnapshot
			case req.Snapshot != "":
				to = c.snapshot(req.Snapshot)
			case req.Clone != "" && from == nil:
				return noClone
			case req.Clone != "" && from.golden != c.golden:
				return "OTHER_GOLDEN"
			case req.Clone != "" && from.failed:
				return failed
			case req.Clone != "":
				to = from.now.content
			}
			if k.fails && !req.Wait {
				return ""
			}
			keep := k.keep
			if req.Now {
				keep = 0
			}
			c.replace(modelState{content: to, origin: to, own: own}, k.at, keep)
			return ""
		}),
	}
}

func suspendOp(name string, suspend bool) modelOp {
	return modelOp{
		name: fmt.Sprintf("suspend %s %v", name, suspend),
		do: func(ctx context.Context, _ *model, p *control.Plane) (err error) {
			if suspend {
				_, err = p.SuspendClone(ctx, name)
			} else {
				_, err = p.ResumeClone(ctx, name, false)
			}
			return err
		},
		becomes: onWhole(name, func(c *modelClone, _ *modelWorld, _ modelCall) string {
			c.suspended = suspend
			return ""
		}),
	}
}

// updateOp protects a clone, or takes that away with a lease that is not over.
func updateOp(name string, n int) modelOp {
	protect, ttl, label := n%3 == 0, []time.Duration{0, 90 * time.Minute, 5 * time.Hour}[n%5%3], fmt.Sprint("l", n)
	return modelOp{
		name: fmt.Sprintf("update %s: protect %v, TTL %v, label %s", name, protect, ttl, label),
		do: func(ctx context.Context, _ *model, p *control.Plane) error {
			u := control.CloneUpdate{Protect: &protect, TTL: &ttl, SetLabels: map[string]string{"label": label}}
			_, err := p.UpdateClone(ctx, name, u)
			return err
		},
		becomes: onClone(name, func(c *modelClone, _ *modelWorld, k modelCall) string {
			c.protect, c.expires, c.label = protect, k.at.after(ttl), label
			return ""
		}),
	}
}

func changesOp(name string) modelOp {
	return modelOp{
		name: "changes of " + name,
		do: func(ctx context.Context, _ *model, p *control.Plane) error {
			_, relations, err := p.Changes(ctx, name, "")
			if err == nil && len(relations) > 0 {
				err = errs.New(errs.Invalid, changed, "%v", relations)
			}
			return err
		},
		becomes: onClone(name, func(c *modelClone, _ *modelWorld, _ modelCall) string {
			switch {
			case c.suspended || c.failed:
				return notReady
			case c.now.content != c.now.origin:
				return changed
			}
			return ""
		}),
	}
}
