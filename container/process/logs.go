package process

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
)

const (
	// maxLog bounds the space that an instance's log takes, in bytes, looked at
	// in each Setup; keptLog is how much of its end is then kept.
	maxLog  = 16 << 20
	keptLog = 8 << 20
	// lastLines is how much of a log an error carries.
	lastLines = 40
	// followEvery is how often a log that is followed is looked at.
	followEvery = 100 * time.Millisecond
	block       = 4096
)

// openLog opens an instance's log for its process, at its end.
func (r *Runtime) openLog(id string) (*os.File, error) {
	f, err := os.OpenFile(r.logPath(id), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, errs.New(errs.Internal, "LOG", "log of instance %s: %w", id, err)
	}
	return f, nil
}

// boundLogs frees the beginnings of logs that have grown too large.
func (r *Runtime) boundLogs() error {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return errs.New(errs.Unavailable, "LOG", "logs of instances: %w", err)
	}
	var failed error
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".log"); ok {
			if err := boundLog(r.logPath(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
				failed = errors.Join(failed, errs.New(errs.Internal, "LOG", "log of instance %s: %w", id, err))
			}
		}
	}
	return failed
}

// boundLog makes the beginning of a log a hole. The process goes on writing at
// the end: nothing that it writes meanwhile is lost.
func boundLog(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var info unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &info); err != nil {
		return err
	}
	if info.Blocks*512 <= maxLog { // in units of 512 bytes, see stat(2)
		return nil
	}
	hole := (info.Size - keptLog) / block * block
	if hole <= 0 {
		return nil
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, hole)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return f.Truncate(0)
	}
	return err
}

// Logs implements container.Runtime.
func (r *Runtime) Logs(ctx context.Context, id string, tail int, follow bool, w io.Writer) error {
	rec, err := r.load(id)
	if err != nil {
		return err
	}
	running, err := r.watch(rec)
	if err != nil {
		return err
	}
	f, err := os.Open(r.logPath(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil // never started
	}
	if err == nil {
		defer f.Close()
		err = seekTail(f, tail)
	}
	if err != nil {
		return errs.New(errs.Internal, "LOG", "log of instance %s: %w", id, err)
	}
	if _, err := io.Copy(w, f); err != nil || !follow {
		return err
	}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-ctx.Done():
			return nil
		case <-running.ended():
			over = true
		case <-tick.C:
		}
		if _, err := io.Copy(w, f); err != nil {
			return err
		}
	}
	return nil
}

// seekTail moves to where the last lines of a log begin; with lines negative to
// where the first whole line begins.
func seekTail(f *os.File, lines int) error {
	begin, err := f.Seek(0, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return nil // empty
	}
	if err != nil {
		return err
	}
	if begin > 0 { // behind a hole, in the middle of a line
		line, err := lineEnd(f, begin)
		if err != nil {
			return err
		}
		begin = line
	}
	at := begin
	if lines >= 0 {
		if at, err = lastLinesBegin(f, begin, lines); err != nil {
			return err
		}
	}
	_, err = f.Seek(at, io.SeekStart)
	return err
}

// lineEnd returns where the line that is at the offset ends.
func lineEnd(f *os.File, at int64) (int64, error) {
	buf := make([]byte, block)
	for {
		n, err := f.ReadAt(buf, at)
		if end := bytes.IndexByte(buf[:n], '\n'); end >= 0 {
			return at + int64(end) + 1, nil
		}
		at += int64(n)
		if err == io.EOF {
			return at, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// lastLinesBegin returns where the last lines of what follows begin begin.
func lastLinesBegin(f *os.File, begin int64, lines int) (int64, error) {
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	if lines == 0 {
		return at, nil
	}
	end := at
	buf := make([]byte, block)
	for at > begin {
		n := min(int64(len(buf)), at-begin)
		if _, err := f.ReadAt(buf[:n], at-n); err != nil && err != io.EOF {
			return 0, err
		}
		for i := n - 1; i >= 0; i-- {
			// The end of the last line does not begin another one.
			if here := at - n + i + 1; buf[i] == '\n' && here < end {
				if lines--; lines <= 0 {
					return here, nil
				}
			}
		}
		at -= n
	}
	return begin, nil
}
