package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/cloned-db/cloned/errs"
)

// identity names a process for good: IDs are reused, an ID with its start time
// in one boot is not.
type identity struct {
	PID int `json:"pid"`
	// Start is field 22 of /proc/PID/stat, in clock ticks since boot (proc(5)).
	Start uint64 `json:"start"`
	Boot  string `json:"boot"`
}

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}

// identify returns the identity of a process that exists.
func identify(pid int, boot string) (identity, error) {
	start, _, err := stat(pid)
	return identity{PID: pid, Start: start, Boot: boot}, err
}

// stat returns a process's start time and state letter.
func stat(pid int) (start uint64, state byte, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The name, field 2, is in parentheses and may contain anything.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields))
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return start, fields[0][0], err
}

// alive says whether this very process still runs. A zombie does not.
func (id identity) alive() (bool, error) {
	boot, err := bootID()
	if err != nil {
		return false, err
	}
	if boot != id.Boot {
		return false, nil
	}
	start, state, err := stat(id.PID)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return start == id.Start && state != 'Z' && state != 'X', nil
}

// findMarked looks for the process that bears the mark of an instance; a zero
// identity if there is none. It reads all of /proc, so it is for the rare case
// that the record does not know.
func (r *Runtime) findMarked(id string) (identity, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return identity{}, err
	}
	var found identity
	for _, dir := range dirs {
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil || !slices.Contains(strings.Split(string(env), "\x00"), r.mark(id)) {
			continue // ended, or another user's, who can't be running ours
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return identity{}, err
		}
		one, err := identify(pid, r.boot)
		if err != nil {
			continue // ended meanwhile
		}
		if found.PID == 0 || one.Start < found.Start {
			found = one // the oldest is the one that started the others
		}
	}
	return found, nil
}

// descendants returns the processes that a process has started, and theirs.
func descendants(pid int, boot string) []identity {
	var all []identity
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil
	}
	for _, file := range tasks {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		for _, field := range strings.Fields(string(data)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				continue
			}
			if id, err := identify(child, boot); err == nil {
				all = append(append(all, id), descendants(child, boot)...)
			}
		}
	}
	return all
}

// kill ends a process at once, with all that it has started, and returns when
// it has gone.
func (id identity) kill(wait func()) error {
	alive, err := id.alive()
	if err != nil {
		return errs.New(errs.Unavailable, "PROC", "looking at process %d: %w", id.PID, err)
	}
	if alive {
		// In a PID namespace of its own they end with it; otherwise only these
		// are known to be its.
		family := descendants(id.PID, id.Boot)
		for _, one := range append([]identity{id}, family...) {
			if still, err := one.alive(); err == nil && still {
				if err := syscall.Kill(one.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
					return errs.New(errs.Denied, "KILL", "killing process %d: %w", one.PID, err)
				}
			}
		}
	}
	wait()
	return nil
}
