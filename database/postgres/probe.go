package postgres

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// Probe implements database.Engine.
func (*Engine) Probe(ctx context.Context, src database.Source) (facts database.Facts, size int64, err error) {
	switch src.Kind {
	case database.SourceDirectory:
		facts, size, err = probeDirectory(ctx, src.Directory)
	case database.SourceBaseBackup:
		facts, size, err = probeServer(ctx, src)
	default:
		err = errs.Fieldf("source.kind", "a source of kind %q can't be probed", src.Kind)
	}
	return facts, size, inPhase(phaseProbe, err)
}

// probeDirectory finds out whether the directory can be copied.
func probeDirectory(ctx context.Context, dir string) (database.Facts, int64, error) {
	source, err := openDirectory(dir)
	if err != nil {
		return database.Facts{}, 0, err
	}
	defer source.Close()
	if err := refuseRunning(source); err != nil {
		return database.Facts{}, 0, about(dir, err)
	}
	d, err := inspect(ctx, source, ".")
	if err != nil {
		return d.facts, 0, about(dir, err)
	}
	return d.facts, d.size, nil
}

// openDirectory opens a source's directory.
func openDirectory(dir string) (*os.Root, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notADirectory(dir, "there is no such directory")
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, about(dir, unreadable(err))
	}
	if err != nil {
		return nil, notADirectory(dir, "it is not a directory")
	}
	entries, err := names(root, ".")
	if err == nil && len(entries) > 0 {
		return root, nil
	}
	root.Close()
	if err != nil {
		return nil, about(dir, unreadable(err))
	}
	return nil, notADirectory(dir, "it is empty")
}

func notADirectory(dir, why string) error {
	return about(dir, errs.New(errs.Invalid, database.ReasonNotADataDirectory, "%s", why).
		WithHint("name PostgreSQL's data directory, the one that has PG_VERSION in it"))
}

// about says which directory an error is about, and that the request's field
// named it.
func about(dir string, err error) error {
	e := *errs.As(err)
	e.Message = fieldDirectory + ": " + dir + ": " + e.Error()
	// What the message has said already, the cause need not say again.
	e.Err = nil
	e.Field = fieldDirectory
	return &e
}

// refuseRunning returns an error if a server runs on the directory.
func refuseRunning(data *os.Root) error {
	pid, running, err := runningIn(data)
	if err != nil {
		return unreadable(err)
	}
	if !running {
		return nil
	}
	return errs.New(errs.Precondition, database.ReasonRunning, "a server runs on it (process %d)", pid).
		WithHint("stop it first, or copy it while it runs: as a base backup")
}
