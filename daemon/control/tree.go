package control

import (
	"context"

	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// Tree returns all goldens, snapshots and clones, each after what it descends
// from, with those that are deleted and only kept for their descendants. With
// usage it also looks at what each takes, which takes time for each; what can't
// be looked at (it is being made, or removed) takes nothing.
func (p *Plane) Tree(ctx context.Context, usage bool) ([]Node, error) {
	t := tree{p: p, ctx: ctx, who: caller(ctx), usage: usage, view: p.store.View(), children: map[string][]Node{}}
	for _, s := range t.view.Snapshots("") {
		t.addSnapshot(s)
	}
	for c := range t.view.Clones() {
		t.addClone(c)
	}
	for _, g := range t.view.Goldens() {
		if g.Published && t.who.uses(g.Name) {
			t.walk(Node{Kind: NodeGolden, ID: g.Name, Name: g.Name, Created: g.Created})
		}
	}
	for _, id := range t.lost {
		t.walk(Node{Kind: NodeGolden, ID: id, Name: id, Deleted: true})
	}
	return t.nodes, ctx.Err()
}

// tree collects nodes under what they descend from.
type tree struct {
	p        *Plane
	ctx      context.Context
	who      Caller
	usage    bool
	view     *state.View
	children map[string][]Node
	lost     []string // goldens that are gone while something descends from them
	nodes    []Node
}

func (t *tree) walk(n Node) {
	t.nodes = append(t.nodes, n)
	for _, child := range t.children[n.ID] {
		t.walk(child)
	}
}

// under notes a node; what it descends from may have no record any more, or not be
// there for the caller: then it hangs on its golden.
func (t *tree) under(n Node, golden string) {
	s, isSnapshot := t.view.Snapshot(n.Parent)
	c, isClone := t.view.Clone(n.Parent)
	if !(isSnapshot && t.who.seesSnapshot(t.view, s)) && !(isClone && t.who.sees(c)) {
		n.Parent = golden
		if _, ok := t.view.Golden(golden); !ok && len(t.children[golden]) == 0 {
			t.lost = append(t.lost, golden)
		}
	}
	t.children[n.Parent] = append(t.children[n.Parent], n)
}

// addSnapshot notes a snapshot: one of a clone under the clone, unless it is of a
// former generation: then under what that came from.
func (t *tree) addSnapshot(s state.Snapshot) {
	if s.State == state.SnapshotPreparing || s.For == s.ID { // not one for itself: nobody is to see it
		return
	}
	if !t.who.seesSnapshot(t.view, s) {
		return
	}
	n := Node{
		Kind: NodeSnapshot, ID: s.ID, Parent: s.Golden, Name: s.Name, Owner: s.Author, Message: s.Message,
		Created: s.Created, Deleted: s.State == state.SnapshotDeleting,
	}
	if s.Clone != "" {
		if c, _ := t.view.Clone(s.Clone); c.Generation == s.Generation || c.State == state.CloneDeleting {
			n.Parent = s.Clone
		} else {
			n.Parent = s.Parent
		}
	}
	if t.usage {
		n.UniqueBytes = uniqueOf(t.p.snapshotUsage(t.ctx, s))
	}
	t.under(n, s.Golden)
}

func (t *tree) addClone(c state.Clone) {
	if !t.who.sees(c) {
		return
	}
	n := Node{
		Kind: NodeClone, ID: c.ID, Parent: c.Snapshot, Name: c.Name, Owner: c.Owner, Message: c.Message,
		Created: c.Created, State: c.State, Deleted: c.State == state.CloneDeleting,
	}
	if n.Deleted {
		kept := t.view.CloneSnapshots(c.ID)
		switch {
		case len(kept) > 0:
			n.Parent = kept[len(kept)-1].Parent // of the generation that is kept
		case c.KeptUntil.IsZero():
			return // it is on its way out, and nothing descends from it
		}
	}
	if t.usage && c.Generation != 0 {
		n.UniqueBytes = uniqueOf(t.p.cfg.Driver.Usage(t.ctx, cloneName(c.ID, c.Generation)))
	}
	t.under(n, c.Golden)
}

// uniqueOf is what is taken by something that may not be there to be looked at.
func uniqueOf(u storage.Usage, err error) int64 {
	if err != nil {
		return 0
	}
	return u.Unique
}
