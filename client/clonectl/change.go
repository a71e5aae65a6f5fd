package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func newReset(a *app) *cobra.Command {
	newest, now, to, output := false, false, "", ""
	cmd := a.one("reset [NAME]", "Put a clone back to a snapshot; address and password stay",
		"  clonectl reset dev\n  clonectl reset dev --newest      # the golden has been refreshed\n  clonectl reset dev --to before-migration",
		func(ctx context.Context, c *client.Client, name string) error {
			req := &clonedv1.ResetCloneRequest{Name: name, Now: now}
			switch {
			case to != "" && newest:
				return errs.Fieldf("to", "--to and --newest exclude each other")
			case to != "":
				req.To = &clonedv1.ResetCloneRequest_Snapshot{Snapshot: to}
			case newest:
				req.To = &clonedv1.ResetCloneRequest_Newest{Newest: true}
			}
			defer a.waiting("resetting " + name)()
			begin := time.Now()
			resp, err := c.Clones.ResetClone(ctx, req)
			if err != nil {
				return err
			}
			return a.done(resp.GetClone(), output, "reset to "+resp.GetClone().GetSnapshot(), begin)
		})
	cmd.Flags().BoolVar(&newest, "newest", false, "to the golden's newest snapshot, not the one it came from")
	cmd.Flags().StringVar(&to, "to", "", "to this snapshot (see clonectl log)")
	nowFlag(cmd, &now)
	a.complete(cmd, "to", a.completeLineage)
	outputFlag(cmd, &output)
	return cmd
}

func newSuspend(a *app) *cobra.Command {
	output := ""
	cmd := a.one("suspend [NAME]", "Stop a clone's container and keep its data", "  clonectl suspend dev",
		func(ctx context.Context, c *client.Client, name string) error {
			defer a.waiting("suspending " + name)()
			begin := time.Now()
			resp, err := c.Clones.SuspendClone(ctx, &clonedv1.SuspendCloneRequest{Name: name})
			if err != nil {
				return err
			}
			return a.done(resp.GetClone(), output, "suspended", begin)
		})
	outputFlag(cmd, &output)
	return cmd
}

func newResume(a *app) *cobra.Command {
	output, newPort := "", false
	cmd := a.one("resume [NAME]", "Start a suspended clone again", "  clonectl resume dev\n  clonectl resume dev --new-port   # something took its port",
		func(ctx context.Context, c *client.Client, name string) error {
			defer a.waiting("resuming " + name)()
			begin := time.Now()
			resp, err := c.Clones.ResumeClone(ctx, &clonedv1.ResumeCloneRequest{Name: name, NewPort: newPort})
			if err != nil {
				return err
			}
			return a.done(resp.GetClone(), output, "resumed", begin)
		})
	cmd.Flags().BoolVar(&newPort, "new-port", false, "take another port if something took its own")
	outputFlag(cmd, &output)
	return cmd
}

// done prints that a clone was changed.
func (a *app) done(clone *clonedv1.Clone, output, what string, begin time.Time) error {
	if output != "" {
		return a.printClone(clone, output)
	}
	_, err := fmt.Fprintf(a.out, "%s %s in %s\n", clone.GetName(), what, took(time.Since(begin)))
	return err
}

func newProtect(a *app) *cobra.Command {
	return a.update("protect [NAME]", "Keep a clone from expiry and from being removed", "  clonectl protect dev", "protected",
		func(req *clonedv1.UpdateCloneRequest) {
			req.Protect, req.UpdateMask = true, &fieldmaskpb.FieldMask{Paths: []string{"protect"}}
		})
}

func newUnprotect(a *app) *cobra.Command {
	return a.update("unprotect [NAME]", "Take a clone's protection away", "  clonectl unprotect dev", "not protected any more",
		func(req *clonedv1.UpdateCloneRequest) {
			req.UpdateMask = &fieldmaskpb.FieldMask{Paths: []string{"protect"}}
		})
}

func (a *app) update(use, short, example, what string, change func(*clonedv1.UpdateCloneRequest)) *cobra.Command {
	return a.one(use, short, example, func(ctx context.Context, c *client.Client, name string) error {
		req := &clonedv1.UpdateCloneRequest{Name: name}
		change(req)
		if _, err := c.Clones.UpdateClone(ctx, req); err != nil {
			return err
		}
		_, err := fmt.Fprintf(a.out, "%s is %s\n", name, what)
		return err
	})
}

func newExtend(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "extend [NAME] TTL", Short: "Let a clone live this long from now, or for ever",
		Example:           "  clonectl extend 4h\n  clonectl extend dev never",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.firstArg(a.completeClones),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := name(args[:len(args)-1])
			if err != nil {
				return err
			}
			req := &clonedv1.UpdateCloneRequest{Name: name, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"ttl"}}}
			if text := args[len(args)-1]; text != "never" {
				if req.Ttl, err = ttl("ttl", text); err != nil {
					return err
				}
			}
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			resp, err := c.Clones.UpdateClone(ctx, req)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s expires %s\n", name, expires(resp.GetClone()))
			return err
		},
	}
}

func newLabel(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "label NAME KEY=VALUE|KEY-…", Short: "Set labels of a clone, or remove them with KEY-",
		Example:           "  clonectl label dev team=web\n  clonectl label dev team-",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.firstArg(a.completeClones),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &clonedv1.UpdateCloneRequest{Name: args[0]}
			var set []string
			for _, arg := range args[1:] {
				if key, remove := strings.CutSuffix(arg, "-"); remove && !strings.Contains(arg, "=") {
					req.RemoveLabels = append(req.RemoveLabels, key)
				} else {
					set = append(set, arg)
				}
			}
			var err error
			if req.SetLabels, err = keyValues("label", set); err != nil {
				return err
			}
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			resp, err := c.Clones.UpdateClone(ctx, req)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s: %s\n", args[0], dash(labels(resp.GetClone())))
			return err
		},
	}
}
