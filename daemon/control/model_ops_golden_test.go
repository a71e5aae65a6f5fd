package control_test

import (
	"context"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/state"
)

func newest(g *modelGolden) string { return g.contents[len(g.contents)-1] }

func publishOp(golden, clone string) modelOp {
	return modelOp{
		name: "publish " + clone + " as " + golden,
		do: func(ctx context.Context, _ *model, p *control.Plane) error {
			req := control.CreateGoldenRequest{Name: golden, Source: state.GoldenSource{Kind: "clone", Clone: clone}}
			_, _, err := p.CreateGolden(ctx, req, nil)
			return err
		},
		becomes: onWhole(clone, func(c *modelClone, w *modelWorld, _ modelCall) string {
			if w.goldens[golden] != nil {
				return nameTaken
			}
			w.goldens[golden] = &modelGolden{clone, []string{prepared(c.now.content)}}
			return ""
		}),
	}
}

// prepared is what preparation makes of data.
func prepared(content string) string { return content + ", prepared" }

// refreshOp refreshes a golden: a published one, or the shared one once its
// source holds content.
func refreshOp(golden, content string) modelOp {
	return modelOp{
		name: "refresh " + golden + " " + content,
		do: func(ctx context.Context, m *model, p *control.Plane) error {
			if content != "" {
				m.rig.world.SetForeign(foreign, content)
			}
			_, err := p.RefreshGolden(ctx, golden, nil)
			return err
		},
		becomes: func(w *modelWorld, _ modelCall) string {
			g := w.goldens[golden]
			if g == nil {
				return noGolden
			}
			content := content
			if g.clone != "" {
				switch c := w.clones[g.clone]; {
				case c == nil:
					return noClone
				case c.failed:
					return failed
				default:
					content = c.now.content
				}
			}
			g.contents = append(g.contents, prepared(content))
			return ""
		},
	}
}

func dropGoldenOp(golden string) modelOp {
	return modelOp{
		name: "delete golden " + golden,
		do:   func(ctx context.Context, _ *model, p *control.Plane) error { return p.DeleteGolden(ctx, golden) },
		becomes: func(w *modelWorld, _ modelCall) string {
			if w.goldens[golden] == nil {
				return noGolden
			}
			for _, c := range w.clones {
				if c.golden == golden {
					return "HAS_CLONES"
				}
			}
			delete(w.goldens, golden)
			for name, list := range w.deleted {
				var rest []*modelClone
				for _, c := range list {
					if c.golden != golden {
						rest = append(rest, c)
					}
				}
				w.deleted[name] = rest
			}
			return ""
		},
	}
}

func dropOldestOp(golden string) modelOp {
	var id string
	return modelOp{
		name: "delete the oldest snapshot of " + golden,
		do: func(ctx context.Context, _ *model, p *control.Plane) error {
			if id == "" {
				list, err := p.ListSnapshots(ctx, golden)
				if err != nil {
					return err
				}
				id = list[len(list)-1].ID
			}
			return p.DeleteSnapshot(ctx, id)
		},
		becomes: func(w *modelWorld, _ modelCall) string {
			switch g := w.goldens[golden]; {
			case g == nil:
				return noGolden
			case len(g.contents) == 1:
				return "LAST_SNAPSHOT"
			default:
				g.contents = g.contents[1:]
				return ""
			}
		},
	}
}
