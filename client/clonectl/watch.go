package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func newWatch(a *app) *cobra.Command {
	o, output := &filterOptions{}, ""
	cmd := &cobra.Command{
		Use: "watch", Short: "Print changes of clones as they happen", Args: cobra.NoArgs,
		Long: `Prints the clones there are, then each change, until interrupted. It goes on
where it was when the daemon is restarted.`,
		Example: "  clonectl watch\n  clonectl watch -l pr=42 -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := o.filter()
			if err != nil {
				return err
			}
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			return a.runWatch(ctx, c, f, output)
		},
	}
	o.flags(a, cmd)
	outputFlag(cmd, &output)
	return cmd
}

// watchPause is the wait before a watch that broke is taken up again.
const watchPause = time.Second

func (a *app) runWatch(ctx context.Context, c *client.Client, f *clonedv1.CloneFilter, output string) error {
	req := &clonedv1.WatchClonesRequest{Filter: f}
	for {
		err := a.watchOnce(ctx, c, req, output)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && errs.As(err).Reason == "REVISION_EXPIRED":
			req.AfterRevision = 0
		case err != nil && !errs.As(err).Retryable:
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchPause):
		}
	}
}

func (a *app) watchOnce(ctx context.Context, c *client.Client, req *clonedv1.WatchClonesRequest, output string) error {
	stream, err := c.Clones.WatchClones(ctx, req)
	if err != nil {
		return err
	}
	return receive(stream, func(event *clonedv1.WatchClonesResponse) {
		req.AfterRevision = event.GetRevision()
		if output == "json" {
			fmt.Fprintf(a.out, "%s\n", toJSON(event))
			return
		}
		clone, what := event.GetClone(), state(event.GetClone())
		if event.GetType() == clonedv1.EventType_EVENT_TYPE_DELETE {
			what = "deleted"
		}
		fmt.Fprintf(a.out, "%s  %-30s %-20s %s\n", time.Now().Format(time.TimeOnly), clone.GetName(), what, clone.GetMessage())
	})
}

// receive calls each with every message of a stream, until that ends.
func receive[T any](stream grpc.ServerStreamingClient[T], each func(*T)) error {
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		each(message)
	}
}
