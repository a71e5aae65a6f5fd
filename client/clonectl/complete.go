package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// completeWithin bounds how long a shell waits for names.
const completeWithin = time.Second

type completer = cobra.CompletionFunc

// complete gives a flag live completion.
func (a *app) complete(cmd *cobra.Command, flag string, f completer) {
	_ = cmd.RegisterFlagCompletionFunc(flag, f)
}

// firstArg completes only the first argument.
func (a *app) firstArg(f completer) completer {
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(cmd, args, prefix)
	}
}

// names asks the daemon, and is silent if none answers in time.
func (a *app) names(ask func(context.Context, *client.Client) []cobra.Completion) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), completeWithin)
	defer cancel()
	ctx, c, err := a.dial(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return ask(ctx, c), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeClones(_ *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.names(func(ctx context.Context, c *client.Client) (out []cobra.Completion) {
		list, err := allClones(ctx, c, nil)
		if err != nil {
			return nil
		}
		for _, clone := range list {
			out = append(out, cobra.CompletionWithDesc(clone.GetName(), clone.GetGolden()+", "+state(clone)))
		}
		return out
	})
}

func (a *app) completeGoldens(_ *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.names(func(ctx context.Context, c *client.Client) (out []cobra.Completion) {
		resp, err := c.Goldens.ListGoldens(ctx, &clonedv1.ListGoldensRequest{})
		if err != nil {
			return nil
		}
		for _, g := range resp.GetGoldens() {
			out = append(out, g.GetName())
		}
		return out
	})
}

func (a *app) completeSnapshots(_ *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.names(func(ctx context.Context, c *client.Client) (out []cobra.Completion) {
		resp, err := c.Goldens.ListSnapshots(ctx, &clonedv1.ListSnapshotsRequest{})
		if err != nil {
			return nil
		}
		for _, s := range resp.GetSnapshots() {
			out = append(out, cobra.CompletionWithDesc(s.GetId(), s.GetGolden()+", "+span(time.Since(s.GetCreateTime().AsTime()))+" old"))
		}
		return out
	})
}

// completeLineage completes the snapshots of the clone that is the command's
// first argument.
func (a *app) completeLineage(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	clone, err := name(args)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.names(func(ctx context.Context, c *client.Client) (out []cobra.Completion) {
		resp, err := c.Clones.GetLineage(ctx, &clonedv1.GetLineageRequest{Name: clone})
		if err != nil {
			return nil
		}
		for _, s := range resp.GetSnapshots() {
			at := s.GetId()
			if s.GetClone() == clone && s.GetName() != "" {
				at = s.GetName()
			}
			out = append(out, cobra.CompletionWithDesc(at, span(time.Since(s.GetCreateTime().AsTime()))+" old "+s.GetMessage()))
		}
		return out
	})
}
