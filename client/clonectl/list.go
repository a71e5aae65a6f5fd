package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

type filterOptions struct{ selector, golden, branch, owner, state string }

func (o *filterOptions) flags(a *app, cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.selector, "selector", "l", "", "those with all of these labels: KEY=VALUE,…")
	cmd.Flags().StringVar(&o.golden, "golden", "", "those of a golden")
	cmd.Flags().StringVar(&o.branch, "branch", "", "those of a branch")
	cmd.Flags().StringVar(&o.owner, "owner", "", "those of an owner")
	cmd.Flags().StringVar(&o.state, "state", "", "those in a state: "+strings.Join(stateNames(), ", "))
	a.complete(cmd, "golden", a.completeGoldens)
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(stateNames(), cobra.ShellCompDirectiveNoFileComp))
}

func stateNames() []string {
	var names []string
	for n := range clonedv1.CloneState_name {
		if s := clonedv1.CloneState(n); n != 0 && s != clonedv1.CloneState_CLONE_STATE_DELETING {
			names = append(names, client.StateName(s))
		}
	}
	slices.Sort(names)
	return names
}

func (o *filterOptions) filter() (*clonedv1.CloneFilter, error) {
	labels, err := selector(o.selector)
	if err != nil {
		return nil, err
	}
	f := &clonedv1.CloneFilter{Golden: o.golden, Branch: attributeOf(o.branch), Owner: o.owner, Labels: labels}
	if o.state != "" {
		n, ok := clonedv1.CloneState_value["CLONE_STATE_"+strings.ToUpper(o.state)]
		if !ok {
			return nil, errs.Fieldf("state", "%q is none of %s", o.state, strings.Join(stateNames(), ", "))
		}
		f.State = clonedv1.CloneState(n)
	}
	return f, nil
}

func newList(a *app) *cobra.Command {
	o, output, deleted := &filterOptions{}, "", false
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List clones", Args: cobra.NoArgs,
		Example: `  clonectl ls
  clonectl ls -l pr=42 -o json
  clonectl ls --state crashed -o name
  clonectl ls --deleted           # what clonectl undo can bring back`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			f, err := o.filter()
			if err != nil {
				return err
			}
			if deleted {
				f.State = clonedv1.CloneState_CLONE_STATE_DELETING
			}
			list, err := allClones(ctx, c, f)
			if err != nil {
				return err
			}
			return a.printClones(list, output)
		},
	}
	o.flags(a, cmd)
	cmd.Flags().BoolVar(&deleted, "deleted", false, "those that were deleted and can be brought back")
	cmd.MarkFlagsMutuallyExclusive("deleted", "state")
	outputFlag(cmd, &output, "name")
	return cmd
}

// allClones reads all pages.
func allClones(ctx context.Context, c *client.Client, f *clonedv1.CloneFilter) ([]*clonedv1.Clone, error) {
	var all []*clonedv1.Clone
	req := &clonedv1.ListClonesRequest{Filter: f, PageSize: 1000}
	for {
		resp, err := c.Clones.ListClones(ctx, req)
		if err != nil {
			return nil, err
		}
		all = append(all, resp.GetClones()...)
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return all, nil
		}
	}
}

func (a *app) printClones(list []*clonedv1.Clone, output string) error {
	if output == "" && len(list) == 0 && terminal(a.out) {
		fmt.Fprintln(a.err, "no clones: clonectl create makes one")
		return nil
	}
	return printList(a, output, list, "NAME GOLDEN BRANCH STATE ADDRESS AGE EXPIRES OWNER", func(c *clonedv1.Clone) []string {
		return []string{c.GetName(), c.GetGolden(), dash(c.GetBranch()), state(c), dash(address(c)), age(c), expires(c), dash(c.GetOwner())}
	})
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
