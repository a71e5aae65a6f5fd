package process

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/cloned-db/cloned/errs"
)

const (
	// maxLog bounds an instance's log, in bytes; it starts anew beyond.
	maxLog = 16 << 20
	// tailLines is how much of a log an error carries.
	tailLines = 40
	// tailBytes is how far back those lines are looked for.
	tailBytes = 64 << 10
)

// openLog opens an instance's log for its process. Appending is what makes it
// safe to cut the file while the process writes.
func (r *Runtime) openLog(id string) (*os.File, error) {
	f, err := os.OpenFile(r.logPath(id), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, errs.New(errs.Internal, "LOG", "log of instance %s: %w", id, err)
	}
	return f, nil
}

// boundLogs cuts logs that have grown too large.
func (r *Runtime) boundLogs() error {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return errs.New(errs.Unavailable, "LOG", "logs of instances: %w", err)
	}
	var failed error
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".log")
		if !ok {
			continue
		}
		if info, err := e.Info(); err == nil && info.Size() > maxLog {
			failed = errors.Join(failed, os.Truncate(r.logPath(id), 0))
		}
	}
	return failed
}

// tail returns the last lines of an instance's log.
func (r *Runtime) tail(id string, lines int) []string {
	var b bytes.Buffer
	if err := r.Logs(context.Background(), id, lines, false, &b); err != nil {
		return []string{err.Error()}
	}
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
}

// Logs implements container.Runtime.
func (r *Runtime) Logs(ctx context.Context, id string, tail int, follow bool, w io.Writer) error {
	rec, err := r.load(id)
	if err != nil {
		return err
	}
	f, err := os.Open(r.logPath(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil // never started
	}
	if err != nil {
		return errs.New(errs.Internal, "LOG", "log of instance %s: %w", id, err)
	}
	defer f.Close()
	if err := seekTail(f, tail); err != nil {
		return errs.New(errs.Internal, "LOG", "log of instance %s: %w", id, err)
	}
	if _, err := io.Copy(w, f); err != nil || !follow {
		return err
	}
	ended, err := r.ended(rec)
	if err != nil {
		return err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			over = true
		case <-tick.C:
		}
		if _, err := io.Copy(w, f); err != nil {
			return err
		}
	}
	return nil
}

// seekTail moves to where the last lines begin; nowhere if lines is negative.
func seekTail(f *os.File, lines int) error {
	if lines < 0 {
		return nil
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	back := min(size, max(tailBytes, int64(lines)*1024))
	buf := make([]byte, back)
	if _, err := f.ReadAt(buf, size-back); err != nil && err != io.EOF {
		return err
	}
	at := len(buf)
	for n := 0; at > 0; at-- {
		if buf[at-1] == '\n' && at < len(buf) {
			if n++; n == lines {
				break
			}
		}
	}
	if lines == 0 {
		at = len(buf)
	}
	_, err = f.Seek(size-back+int64(at), io.SeekStart)
	return err
}
