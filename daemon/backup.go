package daemon

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/durable"
	"github.com/cloned-db/cloned/state"
)

// A backup is a tar archive of what Open needs to find everything again, and of
// their checksums as sha256sum(1) writes them. The key is in it: without it no
// password of a clone is right. Volumes are not.
const fileSums = "SHA256SUMS"

// backedUp are the files of the state directory that are in a backup. The records
// come last: without them a daemon does not start beside volumes.
var backedUp = []string{fileInstallation, fileKey, fileStore}

// Contents is what a backup or a state directory holds.
type Contents struct {
	Instance                   string
	Revision                   uint64
	Goldens, Snapshots, Clones int
	// Kept are deleted clones that can be brought back.
	Kept int
}

// String is for people.
func (c Contents) String() string {
	return fmt.Sprintf("installation %s, revision %d: %d goldens, %d snapshots, %d clones, %d deleted clones that are kept",
		c.Instance, c.Revision, c.Goldens, c.Snapshots, c.Clones, c.Kept)
}

// Backup writes a backup to a file, as a whole and readable by its owner alone, once
// it has verified it. running copies the records of a daemon that has them open;
// otherwise they are read from the disk.
func Backup(ctx context.Context, cfg Config, path string, running func(context.Context, io.Writer) error) (Contents, error) {
	files, err := gather(ctx, cfg.StateDir, running)
	if err != nil {
		return Contents{}, err
	}
	c, err := verify(files)
	if err != nil {
		return Contents{}, err
	}
	archive, err := pack(files)
	if err != nil {
		return Contents{}, err
	}
	return c, durable.Replace(path, archive, 0o600)
}

// CheckState verifies the state directory, and changes nothing. It may be called
// while a daemon runs; see Backup.
func CheckState(ctx context.Context, cfg Config, running func(context.Context, io.Writer) error) (Contents, error) {
	files, err := gather(ctx, cfg.StateDir, running)
	if err != nil {
		return Contents{}, err
	}
	return verify(files)
}

// CheckBackup verifies a backup.
func CheckBackup(path string) (Contents, error) {
	files, err := unpack(path)
	if err != nil {
		return Contents{}, err
	}
	return verify(files)
}

// gather reads what a backup is made of, all of it of one moment.
func gather(ctx context.Context, stateDir string, running func(context.Context, io.Writer) error) (files map[string][]byte, err error) {
	there, err := exists(filepath.Join(stateDir, fileInstallation))
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, errs.New(errs.Precondition, "NO_STATE", "there is no state of cloned in %s", stateDir).
			WithHint("name the configuration of the daemon that is meant with --config")
	}
	files = map[string][]byte{}
	unlock, err := lockStateDir(stateDir)
	switch {
	case err == nil:
		defer func() { err = errors.Join(err, unlock()) }()
		if files[fileStore], err = os.ReadFile(storePath(stateDir)); err != nil {
			return nil, errs.New(errs.Corrupt, "RECORDS_LOST", "the records can't be read: %w", err).
				WithHint("put a backup back: cloned state restore")
		}
	case errs.As(err).Reason == reasonRunning:
		var records bytes.Buffer
		if err := running(ctx, &records); err != nil {
			return nil, err
		}
		files[fileStore] = records.Bytes()
	default:
		return nil, err
	}
	for _, name := range []string{fileInstallation, fileKey} { // neither changes while there are records
		if files[name], err = os.ReadFile(filepath.Join(stateDir, name)); err != nil {
			return nil, lost(filepath.Join(stateDir, name))
		}
	}
	return files, nil
}

// verify looks at all of a backup's files, in a directory that goes again.
func verify(files map[string][]byte) (c Contents, err error) {
	dir, err := os.MkdirTemp("", "cloned-verify-")
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	store, c, err := spread(dir, files)
	if err != nil {
		return Contents{}, err
	}
	return c, store.Close()
}

// spread writes a backup's files into an empty directory, and opens them.
func spread(dir string, files map[string][]byte) (*state.Store, Contents, error) {
	for _, name := range backedUp {
		if err := durable.Replace(filepath.Join(dir, name), files[name], 0o600); err != nil {
			return nil, Contents{}, err
		}
	}
	inst, err := openInstallation(dir)
	if err != nil {
		return nil, Contents{}, err
	}
	if err := state.Check(storePath(dir)); err != nil {
		return nil, Contents{}, err
	}
	store, err := state.Open(storePath(dir), state.Options{})
	if err != nil {
		return nil, Contents{}, err
	}
	view := store.View()
	c := Contents{Instance: inst.Instance, Revision: view.Revision(), Goldens: len(view.Goldens()), Snapshots: len(view.Snapshots("")), Clones: view.CloneCount()}
	for clone := range view.Clones() {
		if !clone.KeptUntil.IsZero() {
			c.Kept++
		}
	}
	return store, c, nil
}

// pack makes the archive.
func pack(files map[string][]byte) ([]byte, error) {
	var sums strings.Builder
	for _, name := range backedUp {
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(files[name]), name)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(name string, data []byte) error {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(data)), ModTime: time.Now()}); err != nil {
			return err
		}
		_, err := w.Write(data)
		return err
	}
	for _, name := range backedUp {
		if err := add(name, files[name]); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(add(fileSums, []byte(sums.String())), w.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// unpack reads an archive, and proves it whole by its checksums.
func unpack(path string) (map[string][]byte, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.Fieldf("backup", "there is no file %s", path)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close() // nothing was written
	damaged := func(err error) error {
		return errs.New(errs.Corrupt, "BACKUP_DAMAGED", "%s is no whole backup: %w", path, err).WithHint("take an older one")
	}
	files := map[string][]byte{}
	for r := tar.NewReader(file); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, damaged(err)
		}
		if _, twice := files[header.Name]; twice || header.Name != fileSums && !slices.Contains(backedUp, header.Name) {
			return nil, damaged(fmt.Errorf("it holds an unexpected %q", header.Name))
		}
		if files[header.Name], err = io.ReadAll(r); err != nil {
			return nil, damaged(err)
		}
	}
	sums := strings.Split(string(files[fileSums]), "\n")
	for _, name := range backedUp {
		if !slices.Contains(sums, fmt.Sprintf("%x  %s", sha256.Sum256(files[name]), name)) {
			return nil, damaged(fmt.Errorf("the checksum of %s does not match", name))
		}
	}
	return files, nil
}
