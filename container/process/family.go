package process

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
)

// markName is the variable in the environment of a process that says whose it
// is.
const markName = "CLONED_INSTANCE"

func (r *Runtime) mark(id string) string { return markName + "=" + r.instanceID + "/" + id }

// adopt sees to it that each process that bears our mark is in its record: a
// daemon that died while it started one may not have written its PID down.
func (r *Runtime) adopt() error {
	marked, err := r.marked()
	if err != nil {
		return errs.New(errs.Unavailable, "PROC", "looking for processes of instances: %w", err)
	}
	for id, family := range marked {
		rec, err := r.load(id)
		if errs.Is(err, errs.Invalid) {
			continue // nobody but us should bear the mark, and we never give such an ID
		}
		if err != nil && !errs.Is(err, errs.NotFound) {
			return err
		}
		if err == nil && (rec.Exited || rec.Process.PID != 0) {
			continue
		}
		// The oldest started the others.
		rec.ID, rec.Process = id, slices.MinFunc(family, func(a, b relative) int { return cmp.Compare(a.Start, b.Start) }).identity
		if err := r.save(rec); err != nil {
			return err
		}
	}
	return nil
}

// marked finds the processes that bear our mark, by the ID in it.
func (r *Runtime) marked() (map[string][]relative, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	found := map[string][]relative{}
	for _, dir := range dirs {
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil {
			continue // ended, or another user's, who can't be running ours
		}
		for _, variable := range strings.Split(string(env), "\x00") {
			id, ours := strings.CutPrefix(variable, r.mark(""))
			if !ours {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err != nil {
				return nil, err
			}
			if one, err := relativeOf(pid, r.boot); err == nil { // otherwise ended meanwhile
				found[id] = append(found[id], one)
			}
		}
	}
	return found, nil
}

// kill kills the process of w and what it has started, and returns when it has
// ended.
func (r *Runtime) kill(id string, w *watch) error {
	var family []relative
	if !r.root {
		var err error
		if family, err = familyOf(w.process); err != nil {
			return familyError(id, err)
		}
	}
	if err := w.signal(unix.SIGKILL); err != nil {
		return err
	}
	<-w.done
	if err := r.killAll(family); err != nil {
		return familyError(id, err)
	}
	if err := r.killLeft(id); err != nil {
		return err
	}
	return r.removeShm(id, w.process.PID)
}

// killLeft kills what an instance has left behind that has ended: processes
// that bear its mark. For root there are none, for its PID namespace has ended.
func (r *Runtime) killLeft(id string) error {
	for !r.root {
		all, err := r.marked()
		if err != nil {
			return familyError(id, err)
		}
		if len(all[id]) == 0 {
			return nil
		}
		if err := r.killAll(all[id]); err != nil {
			return familyError(id, err)
		}
	}
	return nil
}

// killAll kills processes and returns when they have ended.
func (r *Runtime) killAll(family []relative) error {
	var failed error
	for _, one := range family {
		pidfd, err := one.open(r.boot)
		if err == nil && pidfd != nil {
			if err = signal(pidfd, unix.SIGKILL); err == nil {
				err = await(pidfd)
			}
			err = errors.Join(err, pidfd.Close())
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

func familyError(id string, err error) error {
	return errs.New(errs.Unavailable, "FAMILY", "ending what instance %s has started: %w", id, err)
}

// relative is a process of an instance. stopped says that it did nothing when it was
// looked at, until SIGCONT or for ever; see proc_pid_stat(5).
type relative struct {
	identity
	stopped bool
	threads int
}

// relativeOf looks at a process that exists.
func relativeOf(pid int, boot string) (relative, error) {
	now, err := statusOf(pid)
	stopped := now.state == 'T' || now.state == 'Z' || now.state == 'X'
	return relative{identity{PID: pid, Start: now.start, Boot: boot}, stopped, now.threads}, err
}

// familyOf returns a process and what it has started, and what that has; none if
// it has ended.
func familyOf(process identity) ([]relative, error) {
	first, err := relativeOf(process.PID, process.Boot)
	if isGone(err) || err == nil && first.identity != process {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	theirs, err := first.descendants()
	return append([]relative{first}, theirs...), err
}

// descendants returns the processes that a process has started, and theirs.
func (one relative) descendants() ([]relative, error) {
	tasks := fmt.Sprintf("/proc/%d/task", one.PID)
	threads := []string{strconv.Itoa(one.PID)}
	if one.threads != 1 {
		// Not a pattern: this is on the way of snapshots, and each match is looked at.
		entries, err := os.ReadDir(tasks)
		if err != nil && !isGone(err) {
			return nil, err
		}
		threads = nil
		for _, entry := range entries {
			threads = append(threads, entry.Name())
		}
	}
	var all []relative
	for _, thread := range threads {
		data, err := os.ReadFile(filepath.Join(tasks, thread, "children"))
		if isGone(err) {
			continue // ended meanwhile
		}
		if err != nil {
			return nil, err
		}
		for _, field := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return nil, err
			}
			child, err := relativeOf(pid, one.Boot)
			if err != nil {
				continue // ended meanwhile
			}
			theirs, err := child.descendants()
			if err != nil {
				return nil, err
			}
			all = append(append(all, child), theirs...)
		}
	}
	return all, nil
}
