package daemon

import (
	"context"
	"errors"
	"log/slog"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/command"
)

// Teardown removes what an installation made on the host outside its state
// directory and its storage driver's root: the clones' network, the packet
// filter's rules, and a pool in a file. It refuses with errs.Precondition while
// there are goldens or clones, or a daemon that runs. The directory itself, and
// a parent dataset, are the operator's to remove.
func Teardown(ctx context.Context, cfg Config, log *slog.Logger) (err error) {
	if err := cfg.Validate(); err != nil {
		return err
	}
	inst, err := readInstallation(cfg.StateDir)
	if err != nil || inst.Instance == notYet {
		return err // never started: nothing to remove
	}
	unlock, err := lockStateDir(cfg.StateDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	left, err := hasRecords(cfg.StateDir)
	if err != nil {
		return err
	}
	if left {
		return errs.New(errs.Precondition, "NOT_EMPTY", "there are goldens or clones left").
			WithHint("start cloned, delete them with clonectl, stop it, and try again")
	}
	return teardown(ctx, wiring{cfg: cfg, inst: inst, run: &command.Runner{}}, log)
}

func teardown(ctx context.Context, w wiring, log *slog.Logger) error {
	if w.inst.Runtime.Name != "" {
		runtime, _, err := choose(ctx, "container runtime", w.inst.Runtime.Name, Choice{}, w.runtimes(),
			func(Choice) error { return nil })
		if err != nil {
			return err
		}
		if err := errors.Join(runtime.Teardown(ctx), runtime.Close()); err != nil {
			return err
		}
		log.InfoContext(ctx, "removed what clones shared", "runtime", w.inst.Runtime.Name)
	}
	return w.removePool(ctx, w.inst.Storage.Name, log)
}
