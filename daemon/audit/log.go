package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/cloned-db/cloned/errs"
)

// fileName is the file that is written; those before it have their time in their
// name.
const fileName = "audit.log"

// Entry is one call.
type Entry struct {
	Time time.Time `json:"time"`
	// Principal is who made it, empty if it did not prove to be anybody; Role what
	// it may do; From the address, or the user and process on this host.
	Principal string `json:"principal"`
	Role      string `json:"role"`
	From      string `json:"from"`
	// Method is the API's, such as "CreateClone", and Request its message.
	Method  string          `json:"method"`
	Request json.RawMessage `json:"request,omitempty"`
	// Outcome is the name of a gRPC code, Reason that of an error.
	Outcome string `json:"outcome"`
	Reason  string `json:"reason,omitempty"`
	// ID is that of the request in the daemon's own log.
	ID     string  `json:"id"`
	TookMS float64 `json:"took_ms"`
}

// Log is an open audit log.
type Log struct {
	dir string

	mu   sync.Mutex
	out  io.WriteCloser
	fail error // of the last write
	send func(line string) error
}

// Open opens the log in a directory of its own, which is made if need be, and
// only the daemon's user can read. A file that reaches maxBytes is put aside, and
// of those the newest files are kept.
func Open(dir string, maxBytes int64, files int) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, unwritable(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, unwritable(err)
	}
	path := filepath.Join(dir, fileName)
	l := &Log{
		dir:  dir,
		out:  &lumberjack.Logger{Filename: path, MaxSize: int(max(maxBytes>>20, 1)), MaxBackups: files},
		send: toJournal,
	}
	torn, err := isTorn(path)
	if err == nil && torn {
		_, err = l.out.Write([]byte("\n"))
	}
	if err != nil {
		return nil, errors.Join(unwritable(err), l.out.Close())
	}
	return l, nil
}

// toJournal sends a line to the system's journal, if there is one.
func toJournal(line string) error {
	if !journal.Enabled() {
		return nil
	}
	return journal.Send(line, journal.PriInfo, map[string]string{"SYSLOG_IDENTIFIER": "cloned-audit"})
}

// isTorn says whether a crash of the host left half a line at the end.
func isTorn(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return false, err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, size-1); err != nil {
		return false, err
	}
	return last[0] != '\n', nil
}

// Ready returns errs.Unavailable while the log can't be written: nothing may be
// changed then. It tries again each time.
func (l *Log) Ready() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail == nil {
		return nil
	}
	// An empty line is none: it ends what the failed write may have left of one.
	_, l.fail = l.out.Write([]byte("\n"))
	if l.fail != nil {
		return unwritable(l.fail)
	}
	return nil
}

// Write adds an entry. When it has returned, a crash of the daemon does not lose
// it; one of the host may lose those of the last seconds from the file.
func (l *Log) Write(e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, l.fail = l.out.Write(append(bytes.Clone(line), '\n'))
	err = l.send(string(line))
	if l.fail != nil {
		err = errors.Join(unwritable(l.fail), err)
	}
	return err
}

// Close closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Close()
}

func unwritable(err error) error {
	return errs.New(errs.Unavailable, "AUDIT_UNWRITABLE", "the audit log can't be written: %w", err).
		WithHint("see to the space and the rights of the state directory; until then nothing is changed")
}
