package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func newPrune(a *app) *cobra.Command {
	merged, dryRun, now, output := false, false, false, ""
	cmd := &cobra.Command{
		Use: "prune", Short: "Delete the clones of this repository's branches that are gone, or merged", Args: cobra.NoArgs,
		Long: `Deletes the clones of branches that this repository has no longer, and with
--merged of those that are merged into the default branch: the remote's, else main
or master. Clones of the default branch, of one that is checked out in a worktree,
and protected ones stay. For a while clonectl undo brings them back.`,
		Example: "  clonectl prune --dry-run\n  clonectl prune --merged",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if _, err := openRepo(ctx); err != nil {
				return err
			}
			id := gitConfig(ctx, configRepo)
			if id == "" {
				return errs.New(errs.Precondition, "NOT_ENABLED", "which clones are of this repository is not known").
					WithHint("enable it: clonectl git enable")
			}
			keep, err := wantedBranches(ctx, merged)
			if err != nil {
				return err
			}
			ctx, c, err := a.dial(ctx)
			if err != nil {
				return err
			}
			list, err := allClones(ctx, c, &clonedv1.CloneFilter{Labels: map[string]string{repoLabel: id}})
			if err != nil {
				return err
			}
			var gone []*clonedv1.Clone
			var all []error
			for _, clone := range list {
				switch {
				case clone.GetBranch() == "" || keep[clone.GetBranch()]:
				case clone.GetProtect():
					fmt.Fprintf(a.err, "%s stays: it is protected\n", clone.GetName())
				case dryRun:
					gone = append(gone, clone)
				default:
					_, err := c.Clones.DeleteClone(ctx, &clonedv1.DeleteCloneRequest{Name: clone.GetName(), NoWait: true, Now: now})
					if err != nil {
						all = append(all, err)
						continue
					}
					gone = append(gone, clone)
				}
			}
			return errors.Join(append(all, a.printPruned(gone, dryRun, output))...)
		},
	}
	cmd.Flags().BoolVar(&merged, "merged", false, "those of merged branches too")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say which")
	nowFlag(cmd, &now)
	outputFlag(cmd, &output, "name")
	return cmd
}

// wantedBranches returns the branches whose clones stay, as clones bear them.
func wantedBranches(ctx context.Context, merged bool) (map[string]bool, error) {
	keep, err := localBranches(ctx, "")
	if err != nil {
		return nil, err
	}
	if merged {
		name, ref, err := defaultBranch(ctx)
		if err != nil {
			return nil, err
		}
		done, err := localBranches(ctx, ref)
		if err != nil {
			return nil, err
		}
		for branch := range done {
			if branch != name {
				delete(keep, branch)
			}
		}
	}
	// What is checked out is in use, be it merged or without a commit yet, so that
	// Git does not list it as a branch.
	_, inUse, err := worktrees(ctx)
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, branches := range []map[string]bool{keep, inUse} {
		for branch := range branches {
			wanted[attributeOf(branch)] = true
		}
	}
	return wanted, nil
}

func (a *app) printPruned(gone []*clonedv1.Clone, dryRun bool, output string) error {
	if output != "" {
		return a.printClones(gone, output)
	}
	what := "removed"
	if dryRun {
		what = "would be removed"
	}
	for _, clone := range gone {
		fmt.Fprintf(a.out, "%s %s: branch %s\n", clone.GetName(), what, clone.GetBranch())
	}
	if len(gone) == 0 {
		fmt.Fprintln(a.out, "nothing to remove")
	}
	return nil
}
