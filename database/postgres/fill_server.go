package postgres

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// fillFromServer copies a running server by pg_basebackup, which runs as the
// user that the data then belongs to.
func fillFromServer(ctx context.Context, rt container.Runtime, req database.FillRequest) error {
	config, err := parseConnInfo(req.Source)
	if err != nil {
		return err
	}
	if isSocket(config.Host) && !hostProcesses(rt.Name()) {
		return errs.Fieldf(fieldConnInfo, "the host is a unix socket, %s, which the container that copies does not see", config.Host).
			WithHint("use host=127.0.0.1, or the process runtime")
	}
	source, err := askServer(ctx, req.Source)
	if err != nil {
		return err
	}
	user := rt.DefaultUser()
	if err := makeRoom(req.Volume, user, source.tablespaces); err != nil {
		return volumeError("preparing the volume", err)
	}
	progress := &backupProgress{report: req.Progress}
	err = rt.Run(ctx, container.Task{
		ID:      req.Volume.TaskID + "-basebackup",
		Image:   req.Volume.Image,
		Argv:    backupArgs(rt.VolumePath(req.Volume.Path), req, source),
		Env:     []string{"LC_ALL=C", "PGPASSWORD=" + req.Source.Password.Reveal(), "PGCONNECT_TIMEOUT=30"},
		Volume:  req.Volume.Path,
		User:    user,
		Limits:  req.Volume.Limits,
		Network: container.NetworkHost,
		Output:  progress.line,
	})
	if err != nil {
		return backupError(ctx, err)
	}
	if err := relink(req.Volume, source.tablespaces, user); err != nil {
		return volumeError("linking tablespaces", err)
	}
	return volumeError("forcing the copy to disk", syncVolume(req.Volume.Path))
}

// makeRoom makes the directories that pg_basebackup fills. It can't make them
// itself: a volume's root may be all that it may write to.
func makeRoom(v database.Volume, user container.User, spaces []tablespace) error {
	root, err := os.OpenRoot(v.Path)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := makeDir(root, v.DataDir, user); err != nil {
		return err
	}
	if len(spaces) > 0 {
		if err := makeDir(root, tablespaceDir, user); err != nil {
			return err
		}
	}
	return giveRoot(v.Path, user)
}

// backupArgs is the command. volume is the volume's path as the task sees it.
func backupArgs(volume string, req database.FillRequest, source server) []string {
	argv := []string{
		"pg_basebackup", "--dbname", req.Source.ConnInfo, "--pgdata", path.Join(volume, req.Volume.DataDir),
		"--wal-method", "stream", "--checkpoint", "fast", "--no-password", "--progress", "--verbose",
	}
	if source.major >= 13 {
		argv = append(argv, "--no-manifest")
	}
	if !source.slots {
		argv = append(argv, "--no-slot")
	}
	for _, t := range source.tablespaces {
		// "=" separates the two paths; \ before one makes it part of a path.
		old := strings.ReplaceAll(t.location, "=", `\=`)
		argv = append(argv, "--tablespace-mapping", old+"="+strings.ReplaceAll(path.Join(volume, tablespaceDir, t.oid), "=", `\=`))
	}
	return argv
}

// relink makes the links to tablespaces relative, so that they hold wherever a
// clone of the volume is seen.
func relink(v database.Volume, spaces []tablespace, user container.User) error {
	root, err := os.OpenRoot(v.Path)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, t := range spaces {
		link := path.Join(v.DataDir, "pg_tblspc", t.oid)
		target, err := filepath.Rel(path.Dir(link), path.Join(tablespaceDir, t.oid))
		if err != nil {
			return err
		}
		if err := root.Remove(link); err != nil {
			return err
		}
		if err := root.Symlink(target, link); err != nil {
			return err
		}
		if os.Geteuid() == 0 {
			if err := root.Lchown(link, user.UID, user.GID); err != nil {
				return err
			}
		}
	}
	return nil
}

// backupProgress turns what pg_basebackup prints into progress.
type backupProgress struct {
	report func(database.Progress)
}

// backupLine is a line such as "12345/67890 kB (18%), 0/1 tablespace (…)".
var backupLine = regexp.MustCompile(`^\s*([0-9]+)/([0-9]+) kB \([0-9]+%\)`)

func (b *backupProgress) line(line string) {
	match := backupLine.FindStringSubmatch(line)
	if match == nil {
		return
	}
	done, doneErr := strconv.ParseInt(match[1], 10, 64)
	total, totalErr := strconv.ParseInt(match[2], 10, 64)
	if errors.Join(doneErr, totalErr) != nil {
		return // more digits than fit
	}
	b.report(database.Progress{Phase: phaseFill, Message: "base backup", Done: done << 10, Total: total << 10})
}

// backupFaults classify what pg_basebackup says when it fails. What is not
// recognised stays what the runtime made of it.
var backupFaults = []struct {
	said string
	make func(said string) *errs.Error
}{
	{"No space left on device", func(said string) *errs.Error { return full("base backup", errors.New(said)) }},
	{"Disk quota exceeded", func(said string) *errs.Error { return full("base backup", errors.New(said)) }},
	{"authentication failed", refused},
	{"no password supplied", refused},
	{"no pg_hba.conf entry", refused},
	{"permission denied to", refused},
	{"must be superuser or replication role", refused},
	{"is not permitted to log in", refused},
	{"all replication slots are in use", busy},
	{"number of requested standby connections exceeds", busy},
	{"connection to server", gone},
	{"could not connect", gone},
	{"could not translate host name", gone},
	{"server closed the connection", gone},
	{"terminating connection", gone},
	{"terminating walsender", gone},
	{"could not receive data", gone},
	{"could not read COPY data", gone},
	{"could not send", gone},
	{"connection lost", gone},
	{"unexpected termination of replication stream", gone},
	{"background process terminated unexpectedly", gone},
}

func refused(said string) *errs.Error {
	return denied("the source refuses the copy: %s", said).WithHint("check user and password file, and the source's pg_hba.conf for replication")
}

func gone(said string) *errs.Error { return unreachable("the source went away: %s", said) }

func busy(said string) *errs.Error {
	return unreachable("the source can't be copied now: %s", said).WithHint("raise max_wal_senders and max_replication_slots on the source, or wait for another copy to end")
}

// backupError says why pg_basebackup failed.
func backupError(ctx context.Context, err error) error {
	failed := errs.As(err)
	if failed.Reason != container.ReasonTaskFailed || ctx.Err() != nil {
		return err
	}
	for _, fault := range backupFaults {
		for _, line := range failed.Log {
			if strings.Contains(line, fault.said) {
				return fault.make(line).WithLog(failed.Log)
			}
		}
	}
	e := *failed
	e.Message = "base backup failed: " + e.Message
	return &e
}
