package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func newLog(a *app) *cobra.Command {
	output := ""
	cmd := a.one("log [NAME]", "List the snapshots that a clone can be reset to and forked from, newest first", "  clonectl log dev",
		func(ctx context.Context, c *client.Client, name string) error {
			resp, err := c.Clones.GetLineage(ctx, &clonedv1.GetLineageRequest{Name: name, Usage: true})
			if err != nil {
				return err
			}
			if output == "json" {
				return a.printJSON(jsonList(resp.GetSnapshots()))
			}
			rows := make([][]string, len(resp.GetSnapshots()))
			for i, s := range resp.GetSnapshots() {
				of := s.GetClone()
				if of == "" {
					of = "golden " + s.GetGolden()
				}
				space := "-"
				if s.UniqueBytes != nil {
					space = size(s.GetUniqueBytes())
				}
				rows[i] = []string{s.GetId(), s.GetName(), of, span(time.Since(s.GetCreateTime().AsTime())), space, s.GetAuthor(), s.GetMessage()}
			}
			return a.table("SNAPSHOT NAME OF AGE SPACE AUTHOR MESSAGE", rows)
		})
	outputFlag(cmd, &output)
	return cmd
}
