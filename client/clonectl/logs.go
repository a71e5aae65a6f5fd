package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
)

func newLogs(a *app) *cobra.Command {
	follow, tail := false, 0
	cmd := a.one("logs [NAME]", "Print the log of a clone's database", "  clonectl logs dev --tail 50\n  clonectl logs -f",
		func(ctx context.Context, c *client.Client, name string) error {
			if tail < 0 {
				return errs.Fieldf("tail", "must not be negative")
			}
			err := c.Logs(ctx, name, tail, follow, a.out)
			if ctx.Err() != nil && follow {
				return nil // Ctrl-C is how one stops to follow
			}
			return err
		})
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the database ends")
	cmd.Flags().IntVar(&tail, "tail", 0, "only the last lines; 0 for all")
	return cmd
}
