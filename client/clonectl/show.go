package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func newShow(a *app) *cobra.Command {
	output := ""
	cmd := a.one("show [NAME]", "Show a clone, with its URL and what it takes", "  clonectl show\n  clonectl show dev -o json",
		func(ctx context.Context, c *client.Client, name string) error {
			clone, err := get(ctx, c, name)
			if err != nil {
				return err
			}
			return a.printClone(clone, output)
		})
	outputFlag(cmd, &output)
	return cmd
}

func newURL(a *app) *cobra.Command {
	return a.one("url [NAME]", "Print a clone's URL, with the password", "  psql \"$(clonectl url)\"",
		func(ctx context.Context, c *client.Client, name string) error {
			clone, err := reachable(ctx, c, name)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, clone.GetEndpoint().GetUrl())
			return err
		})
}

// one is a command about one clone: the one named, or the Git branch's.
func (a *app) one(use, short, example string, do func(context.Context, *client.Client, string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: example,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.firstArg(a.completeClones),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := name(args)
			if err != nil {
				return err
			}
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			return do(ctx, c, name)
		},
	}
}

func get(ctx context.Context, c *client.Client, name string) (*clonedv1.Clone, error) {
	resp, err := c.Clones.GetClone(ctx, &clonedv1.GetCloneRequest{Name: name})
	return resp.GetClone(), err
}

// reachable is get for those who want to connect: it refuses a clone that has
// no server.
func reachable(ctx context.Context, c *client.Client, name string) (*clonedv1.Clone, error) {
	clone, err := get(ctx, c, name)
	if err != nil {
		return nil, err
	}
	switch clone.GetState() {
	case clonedv1.CloneState_CLONE_STATE_SUSPENDED, clonedv1.CloneState_CLONE_STATE_SUSPENDING:
		return nil, errs.New(errs.Precondition, "SUSPENDED", "clone %s is suspended", name).WithHint("clonectl resume %s", name)
	case clonedv1.CloneState_CLONE_STATE_FAILED:
		return nil, errs.New(errs.Precondition, "CLONE_FAILED", "clone %s has failed: %s", name, clone.GetMessage()).WithHint("clonectl reset %s, or clonectl rm %s", name, name)
	case clonedv1.CloneState_CLONE_STATE_READY:
		return clone, nil
	}
	return c.WaitState(ctx, name, clonedv1.CloneState_CLONE_STATE_READY)
}
