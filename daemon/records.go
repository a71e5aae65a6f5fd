package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/durable"
	"github.com/cloned-db/cloned/state"
)

// openRecords opens the store. A store that is missing while volumes or
// instances of this installation exist was lost: to go on with an empty one
// would make all of them orphans, so they are adopted if the operator says so,
// and otherwise the daemon does not start.
func (d *Daemon) openRecords(ctx context.Context, o Options) error {
	path := storePath(d.cfg.StateDir)
	there, err := exists(path)
	if err != nil {
		return err
	}
	if there && o.Adopt {
		return errs.New(errs.Precondition, "NOT_LOST", "--adopt is for records that were lost, and %s is there", path).
			WithHint("start without --adopt")
	}
	if !there {
		if err := d.withoutStore(ctx, path, o); err != nil {
			return err
		}
	}
	if d.store, err = state.Open(path, state.Options{}); err != nil {
		return err
	}
	d.closers = append(d.closers, d.store.Close)
	return nil
}

// withoutStore returns nil if a new store may be made, or has been, at the path.
func (d *Daemon) withoutStore(ctx context.Context, path string, o Options) error {
	volumes, instances, err := d.owned(ctx)
	if err != nil {
		return err
	}
	if volumes+instances == 0 {
		return nil
	}
	if !o.Adopt {
		return errs.New(errs.Precondition, "RECORDS_LOST",
			"%s is missing, but this installation owns %d volumes and snapshots and %d instances", path, volumes, instances).
			WithHint("restore it from a backup, or start once with --adopt to make new records of what can be found again")
	}
	return d.adopt(ctx, path, o)
}

// owned counts what is there of ours.
func (d *Daemon) owned(ctx context.Context) (volumes, instances int, err error) {
	inventory, err := d.driver.List(ctx, nil)
	if err != nil {
		return 0, 0, err
	}
	list, err := d.runtime.List(ctx)
	return len(inventory.Volumes) + len(inventory.Snapshots), len(list), err
}

// adopt makes a store of what is there, under another name until it is whole:
// one that died half filled would let the rest be swept.
func (d *Daemon) adopt(ctx context.Context, path string, o Options) (err error) {
	unfinished := path + ".adopting"
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	store, err := state.Open(unfinished, state.Options{})
	if err != nil {
		return err
	}
	plane, err := d.newPlane(ctx, store, o)
	var report []string
	if err == nil {
		report, err = plane.Adopt(ctx)
	}
	if err = errors.Join(err, store.Close()); err != nil {
		return err
	}
	for _, line := range report {
		d.log.WarnContext(ctx, "adopted", "what", line)
	}
	if err := os.Rename(unfinished, path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// hasRecords says whether there are goldens or clones, but for those that are
// being deleted.
func hasRecords(stateDir string) (bool, error) {
	path := storePath(stateDir)
	if there, err := exists(path); err != nil || !there {
		return false, err
	}
	store, err := state.Open(path, state.Options{})
	if err != nil {
		return false, err
	}
	view := store.View()
	return len(view.Goldens())+view.CloneCount() > 0, store.Close()
}
