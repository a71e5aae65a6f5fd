package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func newSnapshot(a *app) *cobra.Command {
	message, author, output := "", "", ""
	cmd := &cobra.Command{
		Use:   "snapshot [CLONE][@NAME]",
		Short: "Take a snapshot of a clone; see and delete snapshots",
		Long: `Takes a snapshot of a clone's present state, to be forked from or reset to. The
clone goes on meanwhile; its connections wait for a moment. Without a clone it is
that of the Git branch; without a name the snapshot is called by its ID.`,
		Example: `  clonectl snapshot
  clonectl snapshot dev@before-migration -m "before 0042"
  clonectl create experiment --from dev@before-migration
  clonectl reset dev --to before-migration`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.firstArg(a.completeClones),
		RunE: func(cmd *cobra.Command, args []string) error {
			clone, name, err := cloneAt(args)
			if err != nil {
				return err
			}
			if author == "" {
				author = defaultOwner()
			}
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer a.waiting("taking a snapshot of " + clone)()
			begin := time.Now()
			resp, err := c.Clones.SnapshotClone(ctx, &clonedv1.SnapshotCloneRequest{Name: clone, Snapshot: name, Message: message, Author: author})
			if err != nil {
				return err
			}
			s := resp.GetSnapshot()
			switch output {
			case "json":
				return a.printJSON(toJSON(s))
			case "name":
				_, err = fmt.Fprintln(a.out, s.GetId())
				return err
			}
			called := s.GetName()
			if called == "" {
				called = s.GetId()
			}
			_, err = fmt.Fprintf(a.out, "snapshot %s of %s taken in %s\n  fork it:      clonectl create NEW --from %[2]s@%[1]s\n  go back to it: clonectl reset %[2]s --to %[1]s\n", called, clone, took(time.Since(begin)))
			return err
		},
	}
	cmd.Flags().StringVarP(&message, "message", "m", "", "why it was taken")
	cmd.Flags().StringVar(&author, "author", "", "who took it (default: user@host)")
	outputFlag(cmd, &output, "name")
	cmd.AddCommand(newSnapshotList(a), newSnapshotRemove(a))
	return cmd
}

// cloneAt splits CLONE@NAME; without a clone it is that of the Git branch.
func cloneAt(args []string) (clone, at string, err error) {
	if len(args) > 0 {
		clone, at, _ = strings.Cut(args[0], "@")
	}
	if clone == "" {
		clone, err = name(nil)
	}
	return clone, at, err
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
		Long: `Deletes snapshots: by ID, or those of clones as CLONE@NAME. Clones of them live
on; their space is freed when the last of those has gone.`,
		Example: "  clonectl snapshot rm k3v9x2m1qa\n  clonectl snapshot rm dev@before-migration",
		Args:    cobra.MinimumNArgs(1), ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			var all []error
			for _, arg := range args {
				id, err := snapshotID(ctx, c, arg)
				if err != nil {
					all = append(all, err)
					continue
				}
				if _, err := c.Goldens.DeleteSnapshot(ctx, &clonedv1.DeleteSnapshotRequest{Id: id}); err != nil {
					all = append(all, err)
					continue
				}
				fmt.Fprintf(a.out, "snapshot %s removed\n", arg)
			}
			return errors.Join(all...)
		},
	}
}

// snapshotID returns the ID of a snapshot that is given as such, or as
// CLONE@NAME.
func snapshotID(ctx context.Context, c *client.Client, arg string) (string, error) {
	clone, at, isClones := strings.Cut(arg, "@")
	if !isClones {
		return arg, nil
	}
	resp, err := c.Clones.GetLineage(ctx, &clonedv1.GetLineageRequest{Name: clone})
	if err != nil {
		return "", err
	}
	for _, s := range resp.GetSnapshots() {
		if s.GetClone() == clone && (s.GetName() == at || s.GetId() == at) {
			return s.GetId(), nil
		}
	}
	return "", errs.New(errs.NotFound, "SNAPSHOT_NOT_FOUND", "clone %s has no snapshot %q of its own", clone, at).
		WithHint("clonectl log %s shows those there are", clone)
}
