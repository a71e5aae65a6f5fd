// Command cloned is the daemon. What it does is in package daemon; what is here
// are flags, signals and exit codes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/errs"
)

func main() {
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the next one has its usual effect: the end at once.
	context.AfterFunc(ctx, restore)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK = iota
	exitFailure
	// exitUsage is for a wrong command line or configuration.
	exitUsage
)

// usageError is a wrong command line.
type usageError struct{ error }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		say(stderr, err, "see "+root.Name()+" --help")
		return exitUsage
	}
	say(stderr, err, errs.As(err).Hint)
	if errs.Is(err, errs.Invalid) {
		return exitUsage
	}
	return exitFailure
}

// say tells the user of an error. If standard error can't be written to, there
// is nobody to tell.
func say(w io.Writer, err error, hint string) {
	_, _ = fmt.Fprintln(w, "cloned:", err)
	if hint != "" {
		_, _ = fmt.Fprintln(w, "hint:", hint)
	}
}

func newCommand() *cobra.Command {
	var o options
	root := &cobra.Command{
		Use:   "cloned",
		Short: "Gives out private, writable databases on thin clones of a golden one",
		Long: `cloned keeps golden copies of production-like databases and gives each branch,
CI job and developer a private, writable database on a thin clone of one.
Without a command it serves. Use it through clonectl or the gRPC API.

Exit codes: 0 success; 1 failure; 2 wrong command line or configuration.`,
		Args:          noArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          o.serve,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVar(&o.config, "config", "", "configuration file (default: see `cloned check`; scripts/cloned.yaml shows every key)")
	root.Flags().BoolVar(&o.adopt, "adopt", false, adoptUsage)
	root.AddCommand(newServe(&o), newCheck(&o), newTeardown(&o), newState(&o), newPKI(), newVersion())
	return root
}

func noArgs(cmd *cobra.Command, args []string) error { return wrong(cobra.NoArgs)(cmd, args) }

// wrong makes what the check refuses a wrong command line.
func wrong(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}
