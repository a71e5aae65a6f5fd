package daemon

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/gofrs/flock"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/durable"
)

// Files of the state directory.
const (
	fileLock         = "lock"
	fileInstallation = "installation.json"
	fileKey          = "key"
	fileStore        = "state.db"
	dirAudit         = "audit"
)

// reasonRunning: another daemon has the state directory.
const reasonRunning = "ALREADY_RUNNING"

// keyBytes is the length of the key that clones' passwords are derived from.
const keyBytes = 32

// Installation is what stays the same over restarts of the daemon on one state
// directory.
type Installation struct {
	// Instance is the short ID that marks what belongs to this installation.
	Instance string `json:"instance"`
	// Storage and Runtime are what was chosen at the first start.
	Storage Choice `json:"storage,omitzero"`
	Runtime Choice `json:"runtime,omitzero"`

	dir string
	// Key is kept in a file of its own.
	Key []byte `json:"-"`
}

// Choice is a driver or runtime and why it was chosen.
type Choice struct {
	Name string `json:"name"`
	// Place is the dataset or directory that a storage driver works in.
	Place  string `json:"place,omitempty"`
	Reason string `json:"reason"`
}

var instancePattern = regexp.MustCompile(`^[a-z0-9]{8}$`)

// lockStateDir makes the state directory if need be and holds it until unlock
// is called or the process ends; errs.Precondition if another daemon does.
func lockStateDir(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, errs.New(errs.Precondition, "STATE_DIR", "making the state directory: %w", err).
			WithHint("run cloned as a user that may write there, or set state_dir")
	}
	if os.Geteuid() == 0 {
		// What is secret in it has rights of its own.
		if err := letThrough(dir); err != nil {
			return nil, err
		}
	}
	lock := flock.New(filepath.Join(dir, fileLock), flock.SetPermissions(0o600))
	held, err := lock.TryLock()
	if err != nil {
		return nil, errs.New(errs.Precondition, "STATE_DIR", "locking the state directory %s: %w", dir, err).
			WithHint("run cloned as a user that may write there, or set state_dir")
	}
	if !held {
		return nil, errs.New(errs.Precondition, reasonRunning, "another cloned runs on the state directory %s", dir).
			WithHint("stop it first, or give this one a state_dir of its own")
	}
	if err := durable.Sweep(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("removing what a power cut left in %s: %w", dir, err), lock.Close())
	}
	return lock.Close, nil
}

// letThrough lets every user get through a directory of ours to what is in it:
// databases run as users of their own, and have their volumes there.
func letThrough(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	return os.Chmod(dir, info.Mode().Perm()|0o011)
}

// openInstallation reads the identity of the state directory, and makes it if
// the directory is new. With records but without the identity or the key that
// belong to them it is errs.Corrupt: a new identity would turn every volume into
// somebody else's, a new key would make every password wrong.
func openInstallation(dir string) (*Installation, error) {
	records, err := exists(filepath.Join(dir, fileStore))
	if err != nil {
		return nil, err
	}
	inst := &Installation{dir: dir}
	if err := inst.readIdentity(records); err != nil {
		return nil, err
	}
	return inst, inst.readKey(records)
}

func (i *Installation) readIdentity(records bool) error {
	path := filepath.Join(i.dir, fileInstallation)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if records {
			return lost(path)
		}
		i.Instance = strings.ToLower(rand.Text()[:8])
		return i.save()
	}
	if err != nil {
		return fmt.Errorf("reading the installation's identity: %w", err)
	}
	if err := json.Unmarshal(data, i); err != nil || !instancePattern.MatchString(i.Instance) {
		return errs.New(errs.Corrupt, "IDENTITY_DAMAGED", "%s does not hold an installation's identity", path).
			WithHint("restore it from a backup")
	}
	return nil
}

func (i *Installation) readKey(records bool) error {
	path := filepath.Join(i.dir, fileKey)
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if records {
			return lost(path)
		}
		i.Key = make([]byte, keyBytes)
		if _, err := rand.Read(i.Key); err != nil {
			return fmt.Errorf("making the installation's key: %w", err)
		}
		return durable.Replace(path, i.Key, 0o600)
	}
	if err != nil {
		return fmt.Errorf("reading the installation's key: %w", err)
	}
	if len(key) != keyBytes {
		return errs.New(errs.Corrupt, "IDENTITY_DAMAGED", "%s has %d bytes instead of %d", path, len(key), keyBytes).
			WithHint("restore it from a backup")
	}
	i.Key = key
	return nil
}

func lost(path string) error {
	return errs.New(errs.Corrupt, "IDENTITY_LOST", "%s is missing, and the records need it", path).
		WithHint("restore it from a backup; without one, move %s away and start with --adopt", fileStore)
}

// save writes the identity; the key stays.
func (i *Installation) save() error {
	data, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(i.dir, fileInstallation), append(data, '\n'), 0o600)
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
