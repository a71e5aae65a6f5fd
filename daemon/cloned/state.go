package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/daemon"
	"github.com/cloned-db/cloned/errs"
)

func newState(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Back up the records, the identity and the key; put them back; verify them",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStateBackup(o), newStateRestore(o), newStateCheck(o))
	return cmd
}

func newStateBackup(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a backup of the state directory, also while the daemon runs",
		Long: `Writes the records, the installation's identity and its key to one file (a tar
archive with checksums), verified, as a whole, and readable by its owner alone: who
has it, has the passwords of all clones. Volumes are not in it. While the daemon
runs it is asked for the records, through its unix socket.`,
		Example: "  cloned state backup /srv/backup/cloned.tar",
		Args:    wrong(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := daemon.LoadConfig(o.config)
			if err != nil {
				return err
			}
			c, err := daemon.Backup(cmd.Context(), cfg, args[0], records(cfg))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), c)
			return err
		},
	}
}

func newStateRestore(o *options) *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup back into the state directory",
		Long: `Verifies the backup wholly, and then puts it into the state directory. Refuses while
the daemon runs, and where there is a state, unless --force, which keeps the old
one in the directory replaced-… beside it.

A backup knows nothing of what came after it. So until you have decided about that
(clonectl gc) the daemon sweeps no orphans, and within a day no clone expires and
nothing that is kept for undo is forgotten.`,
		Example: "  systemctl stop cloned\n  cloned state restore /srv/backup/cloned.tar\n  systemctl start cloned && clonectl doctor",
		Args:    wrong(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := daemon.LoadConfig(o.config)
			if err != nil {
				return err
			}
			c, aside, err := daemon.Restore(cfg, args[0], force)
			if aside != "" {
				fmt.Fprintln(cmd.ErrOrStderr(), "the old state is kept in", aside)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), c)
			return err
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace the state that is there, and keep it aside")
	return cmd
}

func newStateCheck(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Verify the state directory, or a backup, and change nothing",
		Long: `Looks at every page and record, at the identity and at the key, and says what is
there. Without FILE it is the state directory, also while the daemon runs.`,
		Example: "  cloned state check\n  cloned state check /srv/backup/cloned.tar",
		Args:    wrong(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var c daemon.Contents
			if len(args) == 1 {
				var err error
				if c, err = daemon.CheckBackup(args[0]); err != nil {
					return err
				}
			} else {
				cfg, err := daemon.LoadConfig(o.config)
				if err != nil {
					return err
				}
				if c, err = daemon.CheckState(cmd.Context(), cfg, records(cfg)); err != nil {
					return err
				}
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), c)
			return err
		},
	}
}

// records asks the daemon that runs for its records. Its socket says who asks.
func records(cfg daemon.Config) func(context.Context, io.Writer) error {
	return func(ctx context.Context, w io.Writer) error {
		for _, addr := range cfg.Listen {
			if !strings.HasPrefix(addr, "unix:") {
				continue
			}
			c, err := client.Dial(ctx, addr)
			if err != nil {
				return err
			}
			defer c.Close() // nothing is lost if the end is not told
			return c.BackupState(ctx, w)
		}
		return errs.New(errs.Precondition, "NO_SOCKET", "the daemon runs, and listens on no unix socket on which it could be asked").
			WithHint("add one to listen in its configuration, or stop it first")
	}
}
