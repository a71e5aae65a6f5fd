package postgres

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/tree"
)

// progressStep is how much is copied between two reports, in bytes.
const progressStep = 8 << 20

// fillFromDirectory copies a stopped data directory of this host.
func fillFromDirectory(ctx context.Context, rt container.Runtime, req database.FillRequest) error {
	dir := req.Source.Directory
	source, err := openDirectory(dir)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := refuseRunning(source); err != nil {
		return about(dir, err)
	}
	found, err := inspect(ctx, source, ".")
	if err != nil {
		return about(dir, err)
	}
	before, err := readFile(source, "global/pg_control", controlSize)
	if err != nil {
		return about(dir, unreadable(err))
	}
	if err := copyDirectory(ctx, req, found.size); err != nil {
		return err
	}
	// A server that was started meanwhile has written to pg_control, and that it
	// was stopped again makes the copy no better.
	if err := refuseRunning(source); err != nil {
		return about(dir, err)
	}
	after, err := readFile(source, "global/pg_control", controlSize)
	if err != nil {
		return about(dir, unreadable(err))
	}
	if !bytes.Equal(before, after) {
		return about(dir, errs.New(errs.Conflict, database.ReasonRunning, "a server ran on it while it was copied").
			WithHint("keep it stopped, or copy it while it runs: as a base backup"))
	}
	owner := found.facts.Owner
	if owner.UID == 0 { // PostgreSQL refuses to run as root
		owner = rt.DefaultUser()
		if err := giveTree(dataPath(req.Volume), owner); err != nil {
			return volumeError("giving the copy to its user", err)
		}
	}
	if err := giveRoot(req.Volume.Path, owner); err != nil {
		return volumeError("giving the volume to its user", err)
	}
	return volumeError("forcing the copy to disk", syncVolume(req.Volume.Path))
}

func copyDirectory(ctx context.Context, req database.FillRequest, total int64) error {
	report := database.Progress{Phase: phaseFill, Message: "copying files", Total: total}
	reported := int64(-progressStep)
	err := tree.CopyPart(ctx, req.Source.Directory, dataPath(req.Volume), tree.Part{
		Skip: leaveOut,
		Copied: func(n int64) {
			report.Done += n
			if report.Done-reported >= progressStep {
				reported = report.Done
				req.Progress(report)
			}
		},
	})
	if errors.Is(err, fs.ErrPermission) {
		return about(req.Source.Directory, unreadable(err))
	}
	if err != nil {
		return volumeError("copying "+req.Source.Directory, err)
	}
	req.Progress(report)
	return nil
}

// leaveOut says what of a data directory is not worth copying: what belongs to
// a server that runs, and what it makes anew (the list of pg_basebackup, and
// the server's own logs).
func leaveOut(name string, info fs.FileInfo) bool {
	dir, base := path.Split(name)
	switch {
	case base == "pg_internal.init", strings.HasPrefix(base, "pgsql_tmp"):
		return true
	case dir == "":
		return base == "postmaster.pid" || base == "postmaster.opts" || base == "current_logfiles" || strings.HasPrefix(base, "core")
	}
	switch dir {
	case "pg_replslot/", "pg_stat_tmp/", "pg_dynshmem/", "pg_notify/", "pg_serial/", "pg_snapshots/", "pg_subtrans/", "log/", "pg_log/":
		return true
	}
	return !info.IsDir() && info.Mode()&fs.ModeType&^fs.ModeSymlink != 0
}

// giveTree makes a tree the user's, if we may. Nobody else can reach it yet.
func giveTree(root string, user container.User) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, user.UID, user.GID)
	})
}
