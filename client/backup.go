package client

import (
	"context"
	"errors"
	"io"

	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// BackupState writes the daemon's records, as they are at one moment, to w. If it
// fails, what was written is of no use.
func (c *Client) BackupState(ctx context.Context, w io.Writer) error {
	stream, err := c.Host.BackupState(ctx, &clonedv1.BackupStateRequest{})
	if err != nil {
		return err
	}
	for {
		msg, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(msg.GetData()); err != nil {
			return err
		}
	}
}
