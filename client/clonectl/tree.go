package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func newTree(a *app) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use:   "tree [GOLDEN]",
		Short: "Draw goldens, snapshots and clones, and what descends from what",
		Long: `Draws what descends from what. What is deleted is shown as such while something
descends from it: it takes its space until the last of those has gone.`,
		Example: "  clonectl tree\n  clonectl tree shop -o dot | dot -Tsvg > shop.svg",
		Args:    cobra.MaximumNArgs(1), ValidArgsFunction: a.firstArg(a.completeGoldens),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			resp, err := c.Host.GetTree(ctx, &clonedv1.GetTreeRequest{Usage: true})
			if err != nil {
				return err
			}
			nodes := resp.GetNodes()
			if len(args) > 0 {
				if nodes = below(nodes, args[0]); len(nodes) == 0 {
					return errs.New(errs.NotFound, "GOLDEN_NOT_FOUND", "there is no golden %q", args[0]).WithHint("clonectl golden ls shows those there are")
				}
			}
			switch output {
			case "json":
				return a.printJSON(jsonList(nodes))
			case "dot":
				return a.printDot(nodes)
			}
			return a.drawTree(nodes)
		},
	}
	outputFlag(cmd, &output, "dot")
	return cmd
}

// below returns the node of the ID and all that descends from it.
func below(nodes []*clonedv1.TreeNode, id string) []*clonedv1.TreeNode {
	in := map[string]bool{}
	var out []*clonedv1.TreeNode
	for _, n := range nodes { // each comes after its parent
		if n.GetId() == id || in[n.GetParent()] {
			in[n.GetId()] = true
			out = append(out, n)
		}
	}
	return out
}

// twigs are what a tree is drawn with.
type twigs struct{ branch, last, through, none string }

// lines are for terminals that show them; see setlocale(3) for which variable
// counts.
func lines() twigs {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(os.Getenv(name)); v != "" {
			if strings.Contains(v, "utf-8") || strings.Contains(v, "utf8") {
				return twigs{"├─ ", "└─ ", "│  ", "   "}
			}
			break
		}
	}
	return twigs{"|- ", "`- ", "|  ", "   "}
}

func (a *app) drawTree(nodes []*clonedv1.TreeNode) error {
	children := map[string][]*clonedv1.TreeNode{}
	for _, n := range nodes {
		children[n.GetParent()] = append(children[n.GetParent()], n)
	}
	t := lines()
	var draw func(n *clonedv1.TreeNode, first, rest string) error
	draw = func(n *clonedv1.TreeNode, first, rest string) error {
		text := describe(n)
		if n.GetDeleted() {
			text = paint(a.out, grey, text)
		}
		if _, err := fmt.Fprintln(a.out, first+text); err != nil {
			return err
		}
		list := children[n.GetId()]
		for i, child := range list {
			twig, on := t.branch, t.through
			if i == len(list)-1 {
				twig, on = t.last, t.none
			}
			if err := draw(child, rest+twig, rest+on); err != nil {
				return err
			}
		}
		return nil
	}
	for _, root := range nodes {
		if root.GetKind() == clonedv1.TreeNode_KIND_GOLDEN {
			if err := draw(root, "", ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// describe is a node in one line.
func describe(n *clonedv1.TreeNode) string {
	var parts []string
	add := func(format string, arg string) {
		if arg != "" {
			parts = append(parts, fmt.Sprintf(format, arg))
		}
	}
	switch n.GetKind() {
	case clonedv1.TreeNode_KIND_GOLDEN:
		add("%s (golden)", n.GetName())
	case clonedv1.TreeNode_KIND_SNAPSHOT:
		add("@%s", n.GetName())
		if n.GetName() == "" {
			add("@%s", n.GetId())
		}
	default:
		add("%s", n.GetName())
		if !n.GetDeleted() {
			add("%s", client.StateName(n.GetState()))
		}
	}
	if n.GetDeleted() {
		parts = append(parts, "deleted")
	}
	if n.GetCreateTime() != nil {
		add("%s old", span(time.Since(n.GetCreateTime().AsTime())))
	}
	if n.GetUniqueBytes() > 0 {
		add("%s", size(n.GetUniqueBytes()))
	}
	add("%s", n.GetOwner())
	add("%q", n.GetMessage())
	return strings.Join(parts, "  ")
}

// printDot prints the tree in Graphviz's language.
func (a *app) printDot(nodes []*clonedv1.TreeNode) error {
	var b strings.Builder
	b.WriteString("digraph cloned {\n  rankdir=LR\n")
	shapes := map[clonedv1.TreeNode_Kind]string{
		clonedv1.TreeNode_KIND_GOLDEN: "cylinder", clonedv1.TreeNode_KIND_SNAPSHOT: "ellipse", clonedv1.TreeNode_KIND_CLONE: "box",
	}
	for _, n := range nodes {
		style := "solid"
		if n.GetDeleted() {
			style = "dashed"
		}
		fmt.Fprintf(&b, "  %s [label=%s shape=%s style=%s]\n", dotQuote(n.GetId()), dotQuote(describe(n)), shapes[n.GetKind()], style)
		if n.GetParent() != "" {
			fmt.Fprintf(&b, "  %s -> %s\n", dotQuote(n.GetParent()), dotQuote(n.GetId()))
		}
	}
	b.WriteString("}\n")
	_, err := fmt.Fprint(a.out, b.String())
	return err
}

// dotQuote quotes a string for Graphviz, which takes a backslash in a label for
// the begin of an escape.
func dotQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
