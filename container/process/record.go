package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// record is what is known of an instance or task; one file each.
type record struct {
	ID         string `json:"id"`
	Task       bool   `json:"task,omitempty"`
	StopSignal string `json:"stop_signal,omitempty"`
	// Process is zero until it has been started.
	Process identity  `json:"process,omitzero"`
	Started time.Time `json:"started,omitzero"`
	// Exited says that somebody saw the process end, and ExitCode how.
	Exited   bool `json:"exited,omitempty"`
	ExitCode int  `json:"exit_code,omitempty"`
}

// unknownExit is the exit code of a process that ended when nobody watched it
// who could have been told.
const unknownExit = -1

func (rec record) exitCode() int {
	if rec.Exited {
		return rec.ExitCode
	}
	return unknownExit
}

func (r *Runtime) recordPath(id string) string { return filepath.Join(r.dir, id+".json") }
func (r *Runtime) logPath(id string) string    { return filepath.Join(r.dir, id+".log") }

// load reads a record; errs.NotFound if there is none.
func (r *Runtime) load(id string) (record, error) {
	if err := container.CheckID(id); err != nil {
		return record{}, err
	}
	data, err := os.ReadFile(r.recordPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, errs.New(errs.NotFound, "NO_INSTANCE", "no instance %s", id)
	}
	if err != nil {
		return record{}, errs.New(errs.Internal, "RECORD", "reading the record of instance %s: %w", id, err)
	}
	rec := record{ID: id}
	if len(data) == 0 {
		// A power cut can leave the name without the content: no process of
		// before the cut lives.
		rec.Exited, rec.ExitCode = true, unknownExit
		return rec, nil
	}
	err = json.Unmarshal(data, &rec)
	if err == nil && (rec.ID != id || rec.Process.PID < 0) {
		err = fmt.Errorf("it is of instance %q, process %d", rec.ID, rec.Process.PID)
	}
	if err != nil {
		return record{}, errs.New(errs.Corrupt, "RECORD", "record of instance %s: %w", id, err).
			WithHint("remove %s once no process of it is left", r.recordPath(id))
	}
	return rec, nil
}

// save replaces a record at once. It is not synced: after a power cut no
// process is left that a record could be needed for.
func (r *Runtime) save(rec record) error {
	if err := r.write(rec); err != nil {
		return errs.New(errs.Internal, "RECORD", "writing the record of instance %s: %w", rec.ID, err)
	}
	return nil
}

func (r *Runtime) write(rec record) (err error) {
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(r.dir, rec.ID+".*"+unfinished)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), r.recordPath(rec.ID))
}

// unfinished is how the names of files end that are not records yet.
const unfinished = ".tmp"

// clean removes what a daemon left that died while it wrote a record.
func (r *Runtime) clean() error {
	left, err := filepath.Glob(filepath.Join(r.dir, "*"+unfinished))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return errs.New(errs.Internal, "RECORDS", "removing unfinished records: %w", err)
	}
	return nil
}

// erase removes what is kept of an instance.
func (r *Runtime) erase(id string) error {
	// The record last: what has a record is found again.
	for _, path := range []string{r.logPath(id), r.recordPath(id)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errs.New(errs.Internal, "RECORD", "removing instance %s: %w", id, err)
		}
	}
	return nil
}

// ids lists the instances that have a record.
func (r *Runtime) ids() ([]string, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, errs.New(errs.Unavailable, "RECORDS", "listing instances: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
