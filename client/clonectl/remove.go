package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func newRemove(a *app) *cobra.Command {
	o, yes, noWait, now := &filterOptions{}, false, false, false
	cmd := &cobra.Command{
		Use: "rm NAME… | -l KEY=VALUE", Aliases: []string{"delete"}, Short: "Delete clones",
		Long: `Deletes the clones named, or all that are selected. Protected ones stay. For a
while clonectl undo brings them back. Unlike other commands it never takes the
name from the Git branch.`,
		Example:           "  clonectl rm dev\n  clonectl rm -l pr=42 --yes",
		ValidArgsFunction: a.completeClones,
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := o.filter()
			if err != nil {
				return err
			}
			selected := cmd.Flags().Changed("selector") || o.golden+o.branch+o.owner+o.state != ""
			if selected == (len(args) > 0) {
				return errs.New(errs.Invalid, "USAGE", "give either names or a selection").WithHint("clonectl rm NAME…, or clonectl rm -l KEY=VALUE")
			}
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			if selected {
				return a.removeSelected(ctx, c, f, yes, now)
			}
			var all []error
			for _, name := range args {
				if _, err := c.Clones.DeleteClone(ctx, &clonedv1.DeleteCloneRequest{Name: name, NoWait: noWait, Now: now}); err != nil {
					all = append(all, err)
					continue
				}
				fmt.Fprintf(a.out, "%s removed\n", name)
			}
			return errors.Join(all...)
		},
	}
	o.flags(a, cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask before a selection is removed")
	nowFlag(cmd, &now)
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return before all their parts have gone")
	return cmd
}

func (a *app) removeSelected(ctx context.Context, c *client.Client, f *clonedv1.CloneFilter, yes, now bool) error {
	list, err := allClones(ctx, c, f)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		fmt.Fprintln(a.out, "nothing is selected")
		return nil
	}
	names := make([]string, len(list))
	for i, clone := range list {
		names[i] = clone.GetName()
	}
	if !yes {
		if err := a.confirm(fmt.Sprintf("remove %d clones: %s?", len(list), strings.Join(names, ", "))); err != nil {
			return err
		}
	}
	resp, err := c.Clones.DeleteClones(ctx, &clonedv1.DeleteClonesRequest{Filter: f, Now: now})
	if err != nil {
		return err
	}
	for _, name := range resp.GetDeleted() {
		fmt.Fprintf(a.out, "%s removed\n", name)
	}
	if kept := resp.GetProtected(); len(kept) > 0 {
		return errs.New(errs.Precondition, "PROTECTED", "protected, and still there: %s", strings.Join(kept, ", ")).
			WithHint("clonectl unprotect NAME")
	}
	return nil
}

// confirm asks on a terminal, and refuses where nobody can answer.
func (a *app) confirm(question string) error {
	if !terminal(a.in) {
		return errs.New(errs.Precondition, "UNCONFIRMED", "not asked, for this is no terminal: %s", question).WithHint("say --yes")
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil || !strings.EqualFold(strings.TrimSpace(answer), "y") {
		return errs.New(errs.Precondition, "UNCONFIRMED", "nothing was removed")
	}
	return nil
}
