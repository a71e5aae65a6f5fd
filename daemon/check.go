package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cloned-db/cloned/internal/command"
)

// Check writes to w what a daemon with this configuration would do on this
// machine and why, one line each, and returns an error if it could not start.
// It changes nothing, and may be called while a daemon runs.
func Check(ctx context.Context, cfg Config, w io.Writer) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	inst, instErr := readInstallation(cfg.StateDir)
	wired := wiring{cfg: cfg, inst: inst, run: &command.Runner{}}
	driver, driverErr := foresee(ctx, "storage driver", cfg.Storage.Driver, inst.Storage, wired.drivers())
	runtime, runtimeErr := foresee(ctx, "container runtime", cfg.Runtime.Name, inst.Runtime, wired.runtimes())
	local, rights, localErr := cfg.local()
	tlsText, tlsErr := cfg.TLS.describe()
	oidcText, oidcErr := cfg.describeOIDC(ctx)
	rows := []struct {
		what, is string
		err      error
	}{
		{"configuration", "valid", nil},
		{"state directory", cfg.StateDir, errors.Join(instErr, writable(cfg.StateDir))},
		{"storage driver", driver.Name + " (" + driver.Reason + ")", driverErr},
		{"container runtime", runtime.Name + " (" + runtime.Reason + ")", runtimeErr},
		{"listening on", fmt.Sprint(cfg.Listen), nil},
		{"unix socket", fmt.Sprintf("%v; %v", rights.mode, local), localErr},
		{"TLS", tlsText, tlsErr},
		{"OIDC", oidcText, oidcErr},
		{"metrics on", cfg.MetricsListen, nil},
	}
	var all error
	for _, row := range rows {
		text := row.is
		if row.err != nil {
			text = "FAILS: " + row.err.Error()
			all = errors.Join(all, row.err)
		} else if text == "" {
			text = "none"
		}
		if _, err := fmt.Fprintf(w, "%-18s %s\n", row.what, text); err != nil {
			return err
		}
	}
	return all
}

// notYet stands for the ID of an installation that was never started.
const notYet = "none"

// readInstallation reads an identity that may not be there yet, and makes none.
func readInstallation(dir string) (*Installation, error) {
	// What is only looked at owns nothing, so any ID will do.
	inst := &Installation{dir: dir, Instance: notYet}
	there, err := exists(filepath.Join(dir, fileInstallation))
	if err != nil || !there {
		return inst, err
	}
	return inst, inst.readIdentity(true)
}

// writable returns nil if the directory, or what it would be made in, may be
// written to by us.
func writable(dir string) error {
	for {
		there, err := exists(dir)
		if err != nil {
			return err
		}
		if there {
			break
		}
		dir = filepath.Dir(dir)
	}
	probe, err := os.CreateTemp(dir, ".cloned-check-*")
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}
