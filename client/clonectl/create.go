package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

type createOptions struct {
	golden, from, snapshot, branch, owner, ttl, output string
	labels                                             []string
	port                                               int32
	protect, noWait, verbose                           bool
	wait                                               time.Duration
}

func newCreate(a *app) *cobra.Command {
	o := &createOptions{}
	cmd := &cobra.Command{
		Use:   "create [NAME]",
		Short: "Make a clone, or return the one that the same command made",
		Long: `Makes a clone and prints its URL, password included, when it answers. The same
command again returns the same clone.

Without a name it is that of the Git branch: lower case, every run of other
characters a "-"; with a digest appended where more than a "/" was lost.`,
		Example: `  clonectl create
  clonectl create ci-4711 --golden shop --ttl 1h --label pr=42
  clonectl create experiment --from dev
  psql "$(clonectl create -o url)"`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runCreate(cmd.Context(), o, args)
		},
	}
	o.flags(a, cmd)
	cmd.Flags().BoolVar(&o.protect, "protect", false, "keep it from expiry and from being removed")
	cmd.Flags().BoolVar(&o.noWait, "no-wait", false, "return at once")
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "say how long each phase took")
	outputFlag(cmd, &o.output, "name", "url")
	return cmd
}

// flags adds the flags that create and run share.
func (o *createOptions) flags(a *app, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.golden, "golden", "", "golden to clone (default: the only one)")
	f.StringVar(&o.from, "from", "", "clone to fork, CLONE or CLONE@SNAPSHOT (default: none)")
	f.StringVar(&o.snapshot, "snapshot", "", "snapshot of the golden (default: the newest)")
	f.StringVar(&o.branch, "branch", "", "line of work that it serves (default: the Git branch)")
	f.StringVar(&o.owner, "owner", "", "whom it belongs to (default: user@host)")
	f.StringArrayVar(&o.labels, "label", nil, "label KEY=VALUE; may be repeated")
	f.StringVar(&o.ttl, "ttl", "", "how long it lives: 90m, 4h, 7d (default: the daemon's)")
	f.DurationVar(&o.wait, "wait", 0, "if a limit is reached, wait in line for room for so long, such as 5m")
	f.Int32Var(&o.port, "port", 0, "port to publish (default: the next free one)")
	a.complete(cmd, "golden", a.completeGoldens)
	a.complete(cmd, "from", a.completeClones)
	a.complete(cmd, "snapshot", a.completeSnapshots)
}

// waitFor is how long a request waits for room; nil for not at all.
func waitFor(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// request makes the API's request of the flags.
func (o *createOptions) request(ctx context.Context, c *client.Client, name string) (*clonedv1.CreateCloneRequest, error) {
	labels, err := keyValues("label", o.labels)
	if err != nil {
		return nil, err
	}
	life, err := ttl("ttl", o.ttl)
	if err != nil {
		return nil, err
	}
	req := &clonedv1.CreateCloneRequest{
		Name: name, Snapshot: o.snapshot, Branch: attributeOf(o.branch), Owner: o.owner, Labels: labels,
		Ttl: life, Protect: o.protect, Port: o.port, NoWait: o.noWait,
		Wait: waitFor(o.wait),
	}
	switch {
	case o.from == "":
		if req.Golden, err = golden(ctx, c, o.golden); err != nil {
			return nil, err
		}
	case o.golden != "" || o.snapshot != "":
		return nil, errs.Fieldf("from", "--from excludes --golden and --snapshot").WithHint("a snapshot of the clone is named with it: --from CLONE@SNAPSHOT")
	default:
		req.From, req.Snapshot, _ = strings.Cut(o.from, "@")
	}
	if req.Branch == "" {
		req.Branch = branchOrEmpty(ctx)
	}
	if req.Owner == "" {
		req.Owner = defaultOwner()
	}
	if id := gitConfig(ctx, configRepo); id != "" && req.Branch != "" && labels[repoLabel] == "" {
		if req.Labels == nil {
			req.Labels = map[string]string{}
		}
		req.Labels[repoLabel] = id // for clonectl prune
	}
	return req, nil
}

func (a *app) runCreate(ctx context.Context, o *createOptions, args []string) error {
	name, err := name(args)
	if err != nil {
		return err
	}
	if name == "" {
		return errs.Fieldf("name", "must not be empty")
	}
	if o.port < 0 || o.port > 65535 {
		return errs.Fieldf("port", "%d is no port", o.port)
	}
	ctx, c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	req, err := o.request(ctx, c, name)
	if err != nil {
		return err
	}
	begin := time.Now()
	clone, created, err := a.create(ctx, c, req)
	if err != nil {
		return err
	}
	switch {
	case o.output == "url":
		_, err = fmt.Fprintln(a.out, clone.GetEndpoint().GetUrl())
		return err
	case o.output != "":
		return a.printClone(clone, o.output)
	case o.noWait:
		_, err = fmt.Fprintf(a.out, "%s is being made: clonectl show %s\n", clone.GetName(), clone.GetName())
		return err
	}
	what := "created"
	if !created {
		what = "was there"
	}
	fmt.Fprintf(a.out, "%s %s in %s\n", clone.GetName(), what, took(time.Since(begin)))
	if o.verbose {
		fmt.Fprintf(a.out, "  %s\n", phases(clone))
	}
	_, err = fmt.Fprintln(a.out, clone.GetEndpoint().GetUrl())
	return err
}

func (a *app) create(ctx context.Context, c *client.Client, req *clonedv1.CreateCloneRequest) (*clonedv1.Clone, bool, error) {
	if req.NoWait {
		resp, err := c.Clones.CreateClone(ctx, req)
		return resp.GetClone(), resp.GetCreated(), err
	}
	defer a.waiting("waiting for " + req.Name)()
	return c.CreateAndWait(ctx, req)
}

// waiting says what takes so long, if it does, on a terminal.
func (a *app) waiting(what string) (done func()) {
	if !terminal(a.err) {
		return func() {}
	}
	timer := time.AfterFunc(2*time.Second, func() { fmt.Fprintf(a.err, "%s …\n", what) })
	return func() { timer.Stop() }
}
