package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func newGC(a *app) *cobra.Command {
	dryRun, yes, output := false, false, ""
	cmd := &cobra.Command{
		Use: "gc", Short: "Destroy orphans: what bears the daemon's mark and has no record", Args: cobra.NoArgs,
		Long: `Lists the volumes, snapshots, containers and tasks that bear this installation's mark
and have no record, asks, and has the daemon destroy exactly those. It proves each
anew before. A few orphans it sweeps by itself; this is for more than it dares to,
and for what came after a backup that was put back. Look at them first: a clone
whose record is lost is an orphan, too.`,
		Example: "  clonectl gc --dry-run           # what is there, why, and what it takes\n  clonectl gc",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			resp, err := c.Host.ListOrphans(ctx, &clonedv1.ListOrphansRequest{})
			if err != nil {
				return err
			}
			orphans := resp.GetOrphans()
			if dryRun && output == "json" {
				return a.printJSON(jsonList(orphans))
			}
			if output == "" {
				if err := a.printOrphans(orphans); err != nil {
					return err
				}
			}
			if dryRun || len(orphans) == 0 {
				return nil
			}
			if !yes {
				if err := a.confirm(fmt.Sprintf("destroy these %d?", len(orphans))); err != nil {
					return err
				}
			}
			return a.sweep(ctx, c, orphans, output)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only list them")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	outputFlag(cmd, &output)
	return cmd
}

func (a *app) printOrphans(orphans []*clonedv1.Orphan) error {
	if len(orphans) == 0 {
		_, err := fmt.Fprintln(a.out, "no orphans")
		return err
	}
	var rows [][]string
	var total int64
	for _, o := range orphans {
		takes, made := "-", "-"
		if o.UniqueBytes != nil {
			takes = size(o.GetUniqueBytes())
		}
		if o.GetCreateTime() != nil {
			made = span(time.Since(o.GetCreateTime().AsTime()))
		}
		total += o.GetUniqueBytes()
		rows = append(rows, []string{takes, made, cell(o.GetName()), cell(o.GetReason())})
	}
	if err := a.table("SIZE AGE ORPHAN REASON", rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "%d orphans, %s\n", len(orphans), size(total))
	return err
}

// sweepAtOnce bounds a request, so that what was done so far is told.
const sweepAtOnce = 100

// sweep has the orphans destroyed, and tells of each.
func (a *app) sweep(ctx context.Context, c *client.Client, orphans []*clonedv1.Orphan, output string) error {
	names := make([]string, len(orphans))
	for i, o := range orphans {
		names[i] = o.GetName()
	}
	all := &clonedv1.SweepOrphansResponse{}
	for some := range slices.Chunk(names, sweepAtOnce) {
		resp, err := c.Host.SweepOrphans(ctx, &clonedv1.SweepOrphansRequest{Names: some})
		if err != nil {
			return err
		}
		all.Swept, all.Left = append(all.Swept, resp.GetSwept()...), append(all.Left, resp.GetLeft()...)
		if output == "" {
			for _, name := range resp.GetSwept() {
				fmt.Fprintln(a.out, cell(name), "destroyed")
			}
			for _, l := range resp.GetLeft() {
				fmt.Fprintf(a.err, "%s stays: %s\n", cell(l.GetName()), cell(l.GetReason()))
			}
		}
	}
	if output == "json" {
		if err := a.printJSON(toJSON(all)); err != nil {
			return err
		}
	}
	if n := len(all.GetLeft()); n > 0 {
		return errs.New(errs.Precondition, "ORPHANS_LEFT", "%d of %d orphans are still there, or were none", n, len(names)).
			WithHint("clonectl gc --dry-run")
	}
	return nil
}
