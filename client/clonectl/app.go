package main

import (
	"context"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// app is what all commands share.
type app struct {
	in       io.Reader
	out, err io.Writer
	host     string
	tls      client.TLS
	timeout  time.Duration
	// tokenFile has the token to show; "" for what the environment says.
	tokenFile string

	conn *client.Client
	stop context.CancelFunc
}

// dial connects to the daemon and returns the context that bounds the command.
func (a *app) dial(ctx context.Context) (context.Context, *client.Client, error) {
	if a.timeout < 0 {
		return ctx, nil, errs.Fieldf("timeout", "must not be negative")
	}
	if a.timeout > 0 && a.stop == nil {
		ctx, a.stop = context.WithTimeout(ctx, a.timeout)
	}
	if a.conn != nil {
		return ctx, a.conn, nil
	}
	opts := []client.Option{client.WithTLS(a.tls)}
	if a.tokenFile != "" {
		opts = append(opts, client.WithTokenFile(a.tokenFile))
	}
	c, err := client.Dial(ctx, a.host, opts...)
	if err != nil {
		return ctx, nil, err
	}
	a.conn = c
	return ctx, c, nil
}

func (a *app) close() {
	if a.stop != nil {
		a.stop()
	}
	if a.conn != nil {
		// Nothing is lost if the end of the connection is not told.
		_ = a.conn.Close()
	}
}

// terminal says whether f is one.
func terminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// golden returns the golden that is named, or else the only one.
func golden(ctx context.Context, c *client.Client, named string) (string, error) {
	if named != "" {
		return named, nil
	}
	resp, err := c.Goldens.ListGoldens(ctx, &clonedv1.ListGoldensRequest{})
	if err != nil {
		return "", err
	}
	switch list := resp.GetGoldens(); len(list) {
	case 0:
		return "", errs.New(errs.Precondition, "NO_GOLDEN", "there is no golden yet").WithHint("make one: clonectl golden create --help")
	case 1:
		return list[0].GetName(), nil
	default:
		names := ""
		for i, g := range list {
			if i > 0 {
				names += ", "
			}
			names += g.GetName()
		}
		return "", errs.Fieldf("golden", "there are several: %s", names).WithHint("choose one with --golden")
	}
}

// name returns the clone's name that is given, or else that of the Git branch.
func name(args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	ctx := context.Background()
	branch, err := currentBranch(ctx)
	if err != nil {
		return "", err
	}
	if own := gitConfig(ctx, branchClone(branch)); own != "" {
		return own, nil
	}
	return nameOfBranch(branch), nil
}
