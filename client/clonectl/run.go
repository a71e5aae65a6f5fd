package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
	"github.com/spf13/cobra"
)

func newRun(a *app) *cobra.Command {
	o := &createOptions{}
	cmd := &cobra.Command{
		Use:   "run [flags] -- COMMAND [ARG…]",
		Short: "Run a command with a clone for its life",
		Long: `Makes a clone, runs the command with DATABASE_URL and PGHOST, PGPORT, PGUSER,
PGPASSWORD and PGDATABASE set, removes the clone whatever happens, and exits with
the command's exit code. If clonectl itself is killed, the clone goes a minute
later.`,
		Example: `  clonectl run -- make test
  clonectl run --golden shop -- psql -c 'SELECT count(*) FROM orders'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runRun(cmd.Context(), o, args) },
	}
	o.flags(a, cmd)
	_ = cmd.Flags().MarkHidden("ttl") // it lives as long as the command
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func (a *app) runRun(ctx context.Context, o *createOptions, argv []string) (err error) {
	if err := checkCommand(argv); err != nil {
		return err
	}
	ctx, c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	req, err := o.request(ctx, c, "run-"+strings.ToLower(rand.Text()[:10]))
	if err != nil {
		return err
	}
	lease, err := a.lease(ctx, c, req)
	if err != nil {
		return err
	}
	defer a.release(lease)
	return a.runWith(ctx, lease.Clone, argv)
}

// lease makes a clone that lives as long as we do.
func (a *app) lease(ctx context.Context, c *client.Client, req *clonedv1.CreateCloneRequest) (*client.Lease, error) {
	defer a.waiting("waiting for " + req.GetName())()
	return c.Lease(ctx, req)
}

func (a *app) release(lease *client.Lease) {
	if err := lease.Release(); err != nil {
		fmt.Fprintf(a.err, "warning: clone %s was not removed, and expires in a minute: %v\n", lease.Clone.GetName(), err)
	}
}

// runWith runs the command with the clone.
func (a *app) runWith(ctx context.Context, clone *clonedv1.Clone, argv []string) error {
	// Not bound to the context: signals are passed on, and the command decides
	// when it ends.
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, a.out, a.err
	cmd.Env = os.Environ()
	for _, v := range environment(clone) {
		cmd.Env = append(cmd.Env, v.name+"="+v.value)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, passedOn...)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return errs.Fieldf("command", "%w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	done := ctx.Done()
	for {
		select {
		case err := <-ended:
			return exitOf(err)
		case s := <-signals:
			// From a terminal the command got it too: it is in our process group.
			if s != os.Interrupt || !terminal(a.in) {
				_ = cmd.Process.Signal(s) // it may just have ended
			}
		case <-done:
			done = nil
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				_ = cmd.Process.Kill()
			}
		}
	}
}

// exitOf passes on how a command ended: its exit code, or 128 and the signal.
func exitOf(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitError(128 + int(status.Signal()))
	}
	return exitError(exit.ExitCode())
}
