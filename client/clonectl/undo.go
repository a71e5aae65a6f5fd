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

func newUndo(a *app) *cobra.Command {
	generation, output := int64(0), ""
	cmd := a.one("undo [NAME]", "Take back the last reset, rebase, merge or deletion of a clone",
		`  clonectl undo dev
  clonectl undo dev                  # and back again
  clonectl undo dev --generation 3   # an older state: clonectl show dev lists those kept`,
		func(ctx context.Context, c *client.Client, name string) error {
			req := &clonedv1.UndoCloneRequest{Name: name, Generation: generation}
			if generation == 0 {
				// Named, so that the request can be repeated if its answer is lost.
				clone, err := get(ctx, c, name)
				if err != nil && !errs.Is(err, errs.NotFound) {
					return err
				}
				if kept := clone.GetKept(); len(kept) > 0 {
					req.Generation = kept[len(kept)-1].GetGeneration()
				}
			}
			defer a.waiting("bringing back " + name)()
			begin := time.Now()
			resp, err := c.Clones.UndoClone(ctx, req)
			if err != nil {
				return err
			}
			return a.done(resp.GetClone(), output, fmt.Sprintf("is back at generation %d", resp.GetClone().GetGeneration()), begin)
		})
	cmd.Flags().Int64Var(&generation, "generation", 0, "the state to go back to (default: the newest that is kept)")
	outputFlag(cmd, &output)
	return cmd
}

// nowFlag adds the flag of commands that replace a state of a clone.
func nowFlag(cmd *cobra.Command, into *bool) {
	cmd.Flags().BoolVar(into, "now", false, "keep nothing of what is replaced: clonectl undo can't bring it back")
}

// keptText says what can be brought back.
func keptText(c *clonedv1.Clone) string {
	text := ""
	for _, k := range c.GetKept() {
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("generation %d, replaced %s ago", k.GetGeneration(), span(time.Since(k.GetReplaceTime().AsTime())))
	}
	return text
}
