package main

import (
	"context"
	"fmt"
	"strings"
	"unicode"

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
				rows = append(rows, []string{size(r.GetWrittenBytes()), size(r.GetSizeBytes()), r.GetKind(), dash(printable(r.GetDatabase())), dash(printable(r.GetName())), what})
			}
			if err := a.table("WRITTEN SIZE KIND DATABASE NAME ", rows); err != nil {
				return err
			}
			hidden := ""
			if !all {
				hidden = fmt.Sprintf(", %s of it catalogs, logs and other files", size(rest))
			}
			_, err = fmt.Fprintf(a.out, "%s in all since %s%s\n", size(total), resp.GetSince(), hidden)
			return err
		})
	cmd.Flags().StringVar(&since, "since", "", "snapshot to compare with (default: the one that it came from)")
	cmd.Flags().BoolVar(&all, "all", false, "catalogs, logs and other files too")
	a.complete(cmd, "since", a.completeLineage)
	outputFlag(cmd, &output)
	return cmd
}

// printable replaces what could command a terminal, or break a table: whoever
// writes to a clone gives its tables their names.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return unicode.ReplacementChar
		}
		return c
	}, text)
}
