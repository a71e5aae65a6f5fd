package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/durable"
)

// Restore puts a backup into the state directory, once all of it is verified. It
// refuses while a daemon runs; and where there is a state, unless force, which keeps
// the old one in the directory aside. See control.PutBack for what the next start
// then does not do.
func Restore(cfg Config, path string, force bool) (c Contents, aside string, err error) {
	files, err := unpack(path)
	if err != nil {
		return c, "", err
	}
	unlock, err := lockStateDir(cfg.StateDir)
	if err != nil {
		return c, "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	fresh, err := os.MkdirTemp(cfg.StateDir, "restoring-")
	if err != nil {
		return c, "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }()
	store, c, err := spread(fresh, files)
	if err != nil {
		return c, "", err
	}
	if err := errors.Join(control.PutBack(store, time.Now()), store.Close()); err != nil {
		return c, "", err
	}
	aside, err = putAside(cfg.StateDir, force)
	if err != nil {
		return c, "", err
	}
	// From here on there are no records, until all the rest is there: a daemon that
	// is started in between refuses to.
	if err := os.Remove(storePath(cfg.StateDir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return c, aside, err
	}
	for _, name := range backedUp {
		if err := os.Rename(filepath.Join(fresh, name), filepath.Join(cfg.StateDir, name)); err != nil {
			return c, aside, err
		}
		if err := durable.SyncDir(cfg.StateDir); err != nil {
			return c, aside, err
		}
	}
	return c, aside, nil
}

// putAside keeps the files that a backup replaces under another name; "" if there
// are none.
func putAside(stateDir string, force bool) (aside string, err error) {
	var old []string
	for _, name := range backedUp {
		there, err := exists(filepath.Join(stateDir, name))
		if err != nil {
			return "", err
		}
		if there {
			old = append(old, name)
		}
	}
	if len(old) == 0 {
		return "", nil
	}
	if !force {
		return "", errs.New(errs.Precondition, "STATE_EXISTS", "there is a state in %s", stateDir).
			WithHint("--force replaces it, and keeps it beside the new one")
	}
	if aside, err = os.MkdirTemp(stateDir, "replaced-"+time.Now().UTC().Format("20060102T150405Z")+"-"); err != nil {
		return "", err
	}
	for _, name := range old {
		if err := os.Link(filepath.Join(stateDir, name), filepath.Join(aside, name)); err != nil {
			return aside, err
		}
	}
	return aside, errors.Join(durable.SyncDir(aside), durable.SyncDir(stateDir))
}
