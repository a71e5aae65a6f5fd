package main

import (
	"context"
	"slices"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// commonAncestor returns the snapshot that two clones both come from and is
// nearest to them, as refTo takes it.
func commonAncestor(ctx context.Context, c *client.Client, ours, theirs *clonedv1.Clone) (ref string, err error) {
	resp, err := c.Host.GetTree(ctx, &clonedv1.GetTreeRequest{})
	if err != nil {
		return "", err
	}
	return nearest(resp.GetNodes(), ours, theirs)
}

func nearest(tree []*clonedv1.TreeNode, ours, theirs *clonedv1.Clone) (ref string, err error) {
	nodes := map[string]*clonedv1.TreeNode{}
	for _, n := range tree {
		nodes[n.GetId()] = n
	}
	a, b := lineage(nodes, ours), lineage(nodes, theirs)
	for i, n := range a {
		j := slices.Index(b, n)
		switch {
		case j < 0:
			continue
		case n.GetKind() == clonedv1.TreeNode_KIND_SNAPSHOT:
			return ours.GetName() + "@" + n.GetId(), nil
		case i > 0 && (j == 0 || !a[i-1].GetCreateTime().AsTime().After(b[j-1].GetCreateTime().AsTime())):
			// They come from states of one clone or golden: from the older of the two,
			// where one of them may be that clone itself.
			return ours.GetName() + "@" + a[i-1].GetId(), nil
		case j > 0:
			return theirs.GetName() + "@" + b[j-1].GetId(), nil
		}
	}
	return "", errs.New(errs.Precondition, "NO_COMMON_ANCESTOR", "clones %s and %s have no common ancestor", ours.GetName(), theirs.GetName()).
		WithHint("clonectl tree shows where they come from; clonectl diff compares any two")
}

// lineage returns a clone and all that it comes from, the nearest first.
func lineage(nodes map[string]*clonedv1.TreeNode, clone *clonedv1.Clone) []*clonedv1.TreeNode {
	var out []*clonedv1.TreeNode
	for n := nodes[clone.GetId()]; n != nil && len(out) <= len(nodes); n = nodes[n.GetParent()] {
		out = append(out, n)
	}
	return out
}
