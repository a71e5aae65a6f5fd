package main

import (
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/daemon"
)

const adoptUsage = "make new records of this installation's volumes if the records were lost"

// options are what the command line says.
type options struct {
	config string
	adopt  bool
}

func newServe(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the API until a signal says to stop",
		Long: `Serves the API until SIGINT or SIGTERM. Calls under way get ten seconds to
finish; a second signal ends it at once. Clones run on without the daemon.`,
		Args: noArgs,
		RunE: o.serve,
	}
	cmd.Flags().BoolVar(&o.adopt, "adopt", false, adoptUsage)
	return cmd
}

func (o *options) serve(cmd *cobra.Command, _ []string) error {
	cfg, err := daemon.LoadConfig(o.config)
	if err != nil {
		return err
	}
	log, err := newLog(cfg.Log, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	d, err := daemon.Open(cmd.Context(), cfg, daemon.Options{Version: versionText(), Log: log, Adopt: o.adopt})
	if err != nil {
		return err
	}
	return d.Serve(cmd.Context())
}

func newLog(cfg daemon.LogConfig, w io.Writer) (*slog.Logger, error) {
	options := &slog.HandlerOptions{ReplaceAttr: durationsAsText}
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		return nil, err
	}
	options.Level = level
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return slog.New(slog.NewTextHandler(w, options)), nil
}

// durationsAsText writes durations with their unit; slog's JSON would give a
// bare number of nanoseconds.
func durationsAsText(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, a.Value.Duration().String())
	}
	return a
}

func newCheck(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration and the machine, and change nothing",
		Long: `Says whether the configuration is valid, and which storage driver and container
runtime would be chosen on this machine and why. The configuration is what
--config names; otherwise /etc/cloned/cloned.yaml, or for a user that is not root
$XDG_CONFIG_HOME/cloned/cloned.yaml, if it exists.

Exit codes: 0 cloned can serve; 1 the machine does not do; 2 the configuration
is wrong.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := daemon.LoadConfig(o.config)
			if err != nil {
				return err
			}
			return daemon.Check(cmd.Context(), cfg, cmd.OutOrStdout())
		},
	}
}

func newTeardown(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "teardown",
		Short: "Remove what cloned made on this host, when no golden and no clone is left",
		Long: `Removes the clones' network, the packet filter's rules, and a storage pool in a
file. cloned must not run, and no golden and no clone must be left. The state
directory, and a parent dataset of ZFS, are left for you to remove.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := daemon.LoadConfig(o.config)
			if err != nil {
				return err
			}
			log, err := newLog(cfg.Log, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return daemon.Teardown(cmd.Context(), cfg, log)
		},
	}
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "cloned", versionText())
			return err
		},
	}
}

// version is set by the linker (-X main.version=…).
var version string

// versionText returns the version, or without one what the Go toolchain stamped.
func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
