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
	ID         string    `json:"id"`
	Task       bool      `json:"task,omitempty"`
	StopSignal string    `json:"stop_signal,omitempty"`
	Process    identity  `json:"process,omitzero"`
	Started    time.Time `json:"started,omitzero"`
	// Exited is set once the process is known to have ended.
	Exited   bool `json:"exited,omitempty"`
	ExitCode int  `json:"exit_code,omitempty"`
}

func (r *Runtime) recordPath(id string) string { return filepath.Join(r.dir, id+".json") }
func (r *Runtime) logPath(id string) string    { return filepath.Join(r.dir, id+".log") }

// load reads a record; errs.NotFound if there is none.
func (r *Runtime) load(id string) (record, error) {
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
		rec.Exited = true
		return rec, nil
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		return record{}, errs.New(errs.Corrupt, "RECORD", "record of instance %s: %w", id, err)
	}
	return rec, nil
}

// save replaces a record at once. It is not synced: after a power cut no
// process is left that a record could be needed for.
func (r *Runtime) save(rec record) error {
	data, err := json.Marshal(rec)
	if err == nil {
		tmp := r.recordPath(rec.ID) + ".tmp"
		if err = os.WriteFile(tmp, data, 0o600); err == nil {
			err = os.Rename(tmp, r.recordPath(rec.ID))
		}
	}
	if err != nil {
		return errs.New(errs.Internal, "RECORD", "writing the record of instance %s: %w", rec.ID, err)
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

// instance says what a record's process is doing.
func (r *Runtime) instance(rec record) (container.Instance, error) {
	in := container.Instance{ID: rec.ID, Task: rec.Task, Started: rec.Started, ExitCode: rec.ExitCode, State: container.Exited}
	if rec.Exited {
		return in, nil
	}
	if rec.Process.PID == 0 {
		// The daemon died while it started: the process, if any, bears our mark.
		found, err := r.findMarked(rec.ID)
		if err != nil {
			return in, err
		}
		if found.PID == 0 {
			in.State = container.Created
			return in, nil
		}
		rec.Process = found
		if err := r.save(rec); err != nil {
			return in, err
		}
	}
	alive, err := rec.Process.alive()
	if err != nil {
		return in, errs.New(errs.Unavailable, "PROC", "looking at process %d of instance %s: %w", rec.Process.PID, rec.ID, err)
	}
	if alive {
		in.State, in.ExitCode = container.Running, 0
	} else {
		in.ExitCode = unknownExit
	}
	return in, nil
}

// unknownExit is the exit code of a process that ended when nobody watched it
// who could have been told.
const unknownExit = -1

// mark is the variable in the environment of a process that says whose it is.
func (r *Runtime) mark(id string) string {
	return fmt.Sprintf("CLONED_INSTANCE=%s/%s", r.instanceID, id)
}
