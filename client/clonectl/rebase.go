package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// keptTTL is how long what a failed rebase or merge has made is kept with --keep.
const keptTTL = 24 * time.Hour

type rebaseOptions struct {
	onto, output string
	keep, now    bool
	timeout      time.Duration
}

func newRebase(a *app) *cobra.Command {
	o := &rebaseOptions{}
	cmd := &cobra.Command{
		Use:   "rebase [NAME] [flags] -- COMMAND [ARG…]",
		Short: "Build a clone anew on the golden's newest snapshot",
		Long: `Makes a clone of the golden's newest snapshot beside the clone, runs the command
(usually the branch's migrations) against it, with DATABASE_URL and PGHOST,
PGPORT, PGUSER, PGPASSWORD and PGDATABASE set, and only if that succeeds puts it
in the clone's place: address and password stay, connections are closed. If it
fails, nothing has changed, and clonectl exits with the command's exit code.
clonectl undo takes a rebase back.`,
		Example: `  clonectl rebase -- ./migrate up
  clonectl rebase dev --onto k3v9x2m1qa --keep -- make migrate`,
		ValidArgsFunction: a.firstArg(a.completeClones),
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if dash < 0 || dash == len(args) || dash > 1 {
				return errs.New(errs.Invalid, "USAGE", "rebase takes a clone and a command").
					WithHint("clonectl rebase [NAME] -- COMMAND; without a command: clonectl reset [NAME] --newest")
			}
			name, err := name(args[:dash])
			if err != nil {
				return err
			}
			return a.runRebase(cmd.Context(), name, args[dash:], o)
		},
	}
	cmd.Flags().StringVar(&o.onto, "onto", "", "snapshot of the golden to build on (default: the newest)")
	cmd.Flags().BoolVar(&o.keep, "keep", false, "if it fails, leave what was built, under a name of its own, for a day")
	cmd.Flags().DurationVar(&o.timeout, "command-timeout", commandTimeout, "kill the command after this time; 0 for never")
	nowFlag(cmd, &o.now)
	a.complete(cmd, "onto", a.completeSnapshots)
	outputFlag(cmd, &o.output)
	return cmd
}

func (a *app) runRebase(ctx context.Context, name string, argv []string, o *rebaseOptions) error {
	if err := checkCommand(argv); err != nil {
		return err
	}
	ctx, c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	clone, err := get(ctx, c, name)
	if err != nil {
		return err
	}
	begin := time.Now()
	lease, err := a.lease(ctx, c, &clonedv1.CreateCloneRequest{
		Name: scratchName(name, "rebase"), Golden: clone.GetGolden(), Snapshot: o.onto,
		Branch: clone.GetBranch(), Owner: clone.GetOwner(),
	})
	if err != nil {
		return err
	}
	defer a.release(lease)
	rebased, err := a.replace(ctx, c, clone, lease, o.now, func() error {
		return a.runOn(ctx, lease.Clone, o.timeout, a.err, argv)
	})
	if err != nil {
		fmt.Fprintf(a.err, "%s is as it was: %s\n", name, failedCommand(argv, err))
		if o.keep {
			a.keep(ctx, lease)
		}
		return exitOf(err)
	}
	return a.done(rebased, o.output, "rebased on "+lease.Clone.GetSnapshot(), begin)
}

// replace has work done on a clone that was made for it, and puts the result in
// the place of another one's state. One at a time may do so for a clone.
func (a *app) replace(ctx context.Context, c *client.Client, clone *clonedv1.Clone, with *client.Lease, now bool, work func() error) (*clonedv1.Clone, error) {
	unlock, err := lockClone(ctx, c, clone, with.Clone.GetName())
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := work(); err != nil {
		return nil, err
	}
	if err := quiet(ctx, with.Clone); err != nil {
		return nil, err
	}
	if err := stillLocked(ctx, c, clone, with.Clone.GetName()); err != nil {
		return nil, err
	}
	resp, err := c.Clones.ResetClone(ctx, &clonedv1.ResetCloneRequest{
		Name: clone.GetName(), To: &clonedv1.ResetCloneRequest_Clone{Clone: with.Clone.GetName()}, Now: now,
	})
	return resp.GetClone(), err
}

// keep leaves a leased clone to look at.
func (a *app) keep(ctx context.Context, lease *client.Lease) {
	name := lease.Clone.GetName()
	if err := lease.Keep(context.WithoutCancel(ctx), keptTTL); err != nil {
		fmt.Fprintf(a.err, "warning: what was built could not be kept: %v\n", err)
		return
	}
	fmt.Fprintf(a.err, "kept for a day: clonectl connect %s; clonectl rm %[1]s\n", name)
}
