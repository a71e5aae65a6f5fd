package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func newSnapshot(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "snapshot", Short: "See and delete the snapshots of goldens"}
	cmd.AddCommand(newSnapshotList(a), newSnapshotRemove(a))
	return cmd
}

func newSnapshotList(a *app) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use: "ls [GOLDEN]", Aliases: []string{"list"}, Short: "List snapshots, newest first", Example: "  clonectl snapshot ls shop",
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.firstArg(a.completeGoldens),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &clonedv1.ListSnapshotsRequest{}
			if len(args) > 0 {
				req.Golden = args[0]
			}
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			resp, err := c.Goldens.ListSnapshots(ctx, req)
			if err != nil {
				return err
			}
			return a.printSnapshots(resp.GetSnapshots(), output)
		},
	}
	outputFlag(cmd, &output, "name")
	return cmd
}

func (a *app) printSnapshots(list []*clonedv1.Snapshot, output string) error {
	switch output {
	case "json":
		return a.printJSON(jsonList(list))
	case "name":
		for _, s := range list {
			fmt.Fprintln(a.out, s.GetId())
		}
		return nil
	}
	rows := make([][]string, len(list))
	for i, s := range list {
		rows[i] = []string{s.GetId(), s.GetGolden(), span(time.Since(s.GetCreateTime().AsTime())), size(s.GetSizeBytes()), fmt.Sprint(s.GetCloneCount())}
	}
	return a.table("SNAPSHOT GOLDEN AGE SIZE CLONES", rows)
}

func newSnapshotRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "rm SNAPSHOT…", Short: "Delete snapshots; their clones live on",
		Long:    "Deletes snapshots. Clones of them live on; their space is freed when the last of those has gone.",
		Example: "  clonectl snapshot rm k3v9x2m1qa",
		Args:    cobra.MinimumNArgs(1), ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			var all []error
			for _, id := range args {
				if _, err := c.Goldens.DeleteSnapshot(ctx, &clonedv1.DeleteSnapshotRequest{Id: id}); err != nil {
					all = append(all, err)
					continue
				}
				fmt.Fprintf(a.out, "snapshot %s removed\n", id)
			}
			return errors.Join(all...)
		},
	}
}
