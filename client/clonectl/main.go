// Clonectl asks a cloned daemon for clones, from a terminal or a script.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
)

// version is set when a release is linked.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is clonectl, as main and tests call it. It returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{in: stdin, out: stdout, err: stderr}
	defer a.close()
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return a.report(root.ExecuteContext(ctx))
}

// exitCodes are those of the kinds of error; see the help of the root command.
var exitCodes = map[errs.Kind]int{
	errs.Internal: 1, errs.Invalid: 2, errs.NotFound: 3, errs.Exists: 4, errs.Precondition: 5,
	errs.Conflict: 6, errs.Exhausted: 7, errs.Unavailable: 8, errs.Denied: 9, errs.Corrupt: 10,
}

// exitError ends clonectl with the exit code of a command that it ran; all has
// been said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// report prints an error and returns the exit code for it.
func (a *app) report(err error) int {
	var exit exitError
	var typed *errs.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(a.err, "error: interrupted")
		return 128 + int(syscall.SIGINT)
	case !errors.As(err, &typed):
		fmt.Fprintf(a.err, "error: %v\n", err)
		return 1
	}
	fmt.Fprintf(a.err, "%s %v\n", paint(a.err, red, "error:"), err)
	if typed.Phase != "" {
		fmt.Fprintf(a.err, "phase: %s\n", typed.Phase)
	}
	for _, line := range typed.Log {
		fmt.Fprintf(a.err, "  | %s\n", line)
	}
	if typed.Hint != "" {
		fmt.Fprintf(a.err, "hint: %s\n", typed.Hint)
	}
	if id := client.RequestID(err); id != "" && typed.Kind == errs.Internal {
		fmt.Fprintf(a.err, "request: %s\n", id)
	}
	return exitCodes[typed.Kind]
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "clonectl",
		Short: "Private, writable databases on thin clones, in under a second",
		Long: `clonectl asks a cloned daemon for clones of its goldens.

In a Git checkout the branch gives the clone's name: on hotfix/1042 it is
hotfix-1042. With one golden, that is the default.

Exit codes: 0 done; 1 internal error; 2 bad input; 3 not found; 4 exists with
another specification; 5 the state forbids it; 6 changed meanwhile; 7 a limit or
the space is used up; 8 try again later; 9 not allowed; 10 data is lost. "doctor"
ends with 11 if it found warnings only, with 12 if it found errors.
"run", "rebase", "rehearse" and "connect" pass on the exit code of the command.`,
		Example: `  clonectl create                 # a database for this branch
  clonectl connect                # psql on it
  clonectl run -- make test       # one for the life of a command
  clonectl rm dev`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().StringVar(&a.host, "host", "", "address of the daemon (default $"+client.EnvHost+", then its usual socket)")
	root.PersistentFlags().StringVar(&a.tokenFile, "token-file", "", "file with the token to show (default $"+client.EnvToken+", then the file that $"+client.EnvTokenFile+" names)")
	root.PersistentFlags().StringVar(&a.tls.CA, "ca", "", "file of the CA that the daemon's certificate is signed by (default $"+client.EnvCA+", then the system's)")
	root.PersistentFlags().StringVar(&a.tls.Cert, "cert", "", "file of this client's certificate (default $"+client.EnvCert+")")
	root.PersistentFlags().StringVar(&a.tls.Key, "key", "", "file of its key (default $"+client.EnvKey+")")
	root.PersistentFlags().DurationVar(&a.timeout, "timeout", 0, "give up after this time; 0 for never")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return errs.New(errs.Invalid, "USAGE", "%w", err).WithHint("see %s --help", cmd.CommandPath())
	})
	for _, new := range []func(*app) *cobra.Command{
		newStatus, newGolden, newSnapshot,
		newCreate, newList, newShow, newURL, newEnv, newConnect, newLogs, newRun,
		newReset, newSuspend, newResume, newProtect, newUnprotect, newExtend, newLabel, newWatch, newRemove, newAudit,
		newLog, newTree, newUndo, newRebase, newRehearse, newDiff, newMerge, newChanges, newGit, newPrune,
		newToken, newWhoami, newDoctor, newGC, newVersion,
	} {
		root.AddCommand(new(a))
	}
	usageErrors(root)
	return root
}

// usageErrors makes wrong arguments errors of kind Invalid in every command.
func usageErrors(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return errs.New(errs.Invalid, "USAGE", "%w", err).WithHint("see %s --help", c.CommandPath())
			}
			return nil
		}
	}
	if cmd.HasSubCommands() && cmd.RunE == nil {
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				hint := "see " + c.CommandPath() + " --help"
				if near := c.SuggestionsFor(args[0]); len(near) > 0 {
					hint = "did you mean " + strings.Join(near, " or ") + "?"
				}
				return errs.New(errs.Invalid, "USAGE", "%s has no command %q", c.CommandPath(), args[0]).WithHint("%s", hint)
			}
			return c.Help()
		}
	}
	for _, sub := range cmd.Commands() {
		usageErrors(sub)
	}
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of clonectl", Args: cobra.NoArgs,
		Example: "  clonectl version",
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.out, version)
			return err
		},
	}
}
