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
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

const (
	// runTTL is the life of a clone for one command, extended every runBeat while
	// the command runs: if we are killed, the daemon collects it.
	runTTL  = 3 * time.Minute
	runBeat = time.Minute
	// removeWithin bounds the removal at the end, whatever ended the command.
	removeWithin = 30 * time.Second
)

func newRun(a *app) *cobra.Command {
	o := &createOptions{}
	cmd := &cobra.Command{
		Use:   "run [flags] -- COMMAND [ARG…]",
		Short: "Run a command with a clone for its life",
		Long: `Makes a clone, runs the command with DATABASE_URL and PGHOST, PGPORT, PGUSER,
PGPASSWORD and PGDATABASE set, removes the clone whatever happens, and exits with
the command's exit code. If clonectl itself is killed, the clone goes a few
minutes later.`,
		Example: `  clonectl run -- make test
  clonectl run --golden shop -- psql -c 'SELECT count(*) FROM orders'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runRun(cmd.Context(), o, args) },
	}
	o.flags(a, cmd)
	_ = cmd.Flags().MarkHidden("ttl")
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func (a *app) runRun(ctx context.Context, o *createOptions, argv []string) (err error) {
	if _, err := exec.LookPath(argv[0]); err != nil {
		return errs.Fieldf("command", "%w", err)
	}
	ctx, c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	o.ttl = runTTL.String()
	req, err := o.request(ctx, c, "run-"+strings.ToLower(rand.Text()[:10]))
	if err != nil {
		return err
	}
	// From here on the clone may exist, even if the answer never comes.
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeWithin)
		defer cancel()
		_, removeErr := c.Clones.DeleteClone(ctx, &clonedv1.DeleteCloneRequest{Name: req.Name, NoWait: true})
		if removeErr != nil && !errs.Is(removeErr, errs.NotFound) {
			fmt.Fprintf(a.err, "warning: clone %s was not removed, and expires in %s: %v\n", req.Name, runTTL, removeErr)
		}
	}()
	clone, _, err := a.create(ctx, c, req)
	if err != nil {
		return err
	}
	return a.runWith(ctx, c, clone, argv)
}

// runWith runs the command with the clone, and keeps the clone alive.
func (a *app) runWith(ctx context.Context, c *client.Client, clone *clonedv1.Clone, argv []string) error {
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
	beat := time.NewTicker(runBeat)
	defer beat.Stop()
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
		case <-beat.C:
			a.extend(ctx, c, clone.GetName())
		}
	}
}

// extend lets the clone live on. A daemon that is away for a moment is no
// reason to disturb the command: there is another beat before the clone expires.
func (a *app) extend(ctx context.Context, c *client.Client, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), runBeat/2)
	defer cancel()
	_, err := c.Clones.UpdateClone(ctx, &clonedv1.UpdateCloneRequest{
		Name: name, Ttl: durationpb.New(runTTL), UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"ttl"}},
	})
	if err != nil {
		fmt.Fprintf(a.err, "warning: clone %s could not be extended: %v\n", name, err)
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
