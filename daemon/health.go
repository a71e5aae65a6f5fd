package daemon

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cloned-db/cloned/daemon/control"
)

// checkFiles is the check of the state directory.
const checkFiles = "files"

// checkHealth is the plane's, with what the plane does not know: the files of the
// installation.
func (d *Daemon) checkHealth(ctx context.Context) control.Health {
	h := d.plane.CheckHealth(ctx)
	h.Checks = append(h.Checks, checkFiles)
	h.Findings = control.WorstFirst(append(h.Findings, d.inst.findings()...))
	return h
}

// findings says what is wrong with the files of the installation, as they are now:
// the next start depends on them.
func (i *Installation) findings() (out []control.Finding) {
	say := func(severity control.Severity, remedy, format string, args ...any) {
		out = append(out, control.Finding{Check: checkFiles, Severity: severity, Message: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	now := &Installation{dir: i.dir}
	restore := "cloned state restore FILE, from a backup"
	if err := now.readIdentity(true); err != nil {
		say(control.Fault, restore, "the next start will fail: %v", err)
	} else if now.Instance != i.Instance {
		say(control.Fault, restore, "%s is of installation %s, and this is %s", filepath.Join(i.dir, fileInstallation), now.Instance, i.Instance)
	}
	if err := now.readKey(true); err != nil {
		say(control.Fault, restore, "the next start will fail: %v", err)
	} else if !bytes.Equal(now.Key, i.Key) {
		say(control.Fault, restore, "%s is another than at the start: with it no password of a clone will be right", filepath.Join(i.dir, fileKey))
	}
	for _, name := range []string{".", fileKey, fileInstallation, fileStore} {
		path := filepath.Join(i.dir, name)
		info, err := os.Lstat(path)
		if err != nil {
			if name == fileStore { // of the others it is said above
				say(control.Fault, restore, "the records are gone from the disk: %v", err)
			}
			continue
		}
		if bad := info.Mode().Perm() &^ allowed(info); bad != 0 {
			say(control.Fault, fmt.Sprintf("chmod %o %s", info.Mode().Perm()&^bad, path),
				"%s has mode %o: others than its owner may read or change it", path, info.Mode().Perm())
		}
	}
	return out
}

// allowed are the rights that others may have: in the directory, to get through to
// the volumes and to see what there is.
func allowed(info fs.FileInfo) fs.FileMode {
	if info.IsDir() {
		return 0o755
	}
	return 0o600
}
