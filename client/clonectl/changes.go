package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func newChanges(a *app) *cobra.Command {
	since, all, output := "", false, ""
	cmd := a.one("changes [NAME]", "Say which tables and indexes of a clone were written, and how much",
		"  clonectl changes\n  clonectl changes dev --since before-migration --all",
		func(ctx context.Context, c *client.Client, name string) error {
			defer a.waiting("comparing " + name)()
			resp, err := c.Clones.GetChanges(ctx, &clonedv1.GetChangesRequest{Name: name, Since: since})
			if err != nil {
				return err
			}
			if output == "json" {
				return a.printJSON(toJSON(resp))
			}
			var rows [][]string
			var rest, total int64
			for _, r := range resp.GetRelations() {
				total += r.GetWrittenBytes()
				switch r.GetKind() {
				case "table", "index", "sequence", "view", "toast":
				default:
					if !all {
						rest += r.GetWrittenBytes()
						continue
					}
				}
				what := ""
				switch {
				case r.GetCreated():
					what = "new"
				case r.GetRemoved():
					what = "gone"
				}
				rows = append(rows, []string{size(r.GetWrittenBytes()), size(r.GetSizeBytes()), r.GetKind(), dash(r.GetDatabase()), dash(r.GetName()), what})
			}
			if err := a.table("WRITTEN SIZE KIND DATABASE NAME ", rows); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s in all since %s, %s of it catalogs, logs and other files\n", size(total), resp.GetSince(), size(rest))
			return err
		})
	cmd.Flags().StringVar(&since, "since", "", "snapshot to compare with (default: the one that it came from)")
	cmd.Flags().BoolVar(&all, "all", false, "catalogs, logs and other files too")
	a.complete(cmd, "since", a.completeLineage)
	outputFlag(cmd, &output)
	return cmd
}
