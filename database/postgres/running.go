package postgres

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// runningIn says whether a server runs on the data directory, and as which
// process of this host.
//
// Every process of a server works in its data directory, and stat(2) of
// /proc/PID/cwd tells that across containers, where the process IDs in
// postmaster.pid mean nothing. Who may not look at other users' processes has
// postmaster.pid only.
func runningIn(data *os.Root) (pid int, running bool, err error) {
	info, err := data.Stat(".")
	if err != nil {
		return 0, false, err
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, false, err
	}
	hidden := false
	for _, p := range processes {
		id, err := strconv.Atoi(filepath.Base(p))
		if err != nil || id == os.Getpid() {
			continue
		}
		cwd, err := os.Stat(filepath.Join(p, "cwd"))
		if errors.Is(err, fs.ErrPermission) {
			hidden = true
			continue
		}
		if err == nil && os.SameFile(cwd, info) && isServer(p) {
			return id, true, nil
		}
	}
	if !hidden {
		return 0, false, nil
	}
	return lockHolder(data)
}

// isServer says that a process is PostgreSQL, and not a shell that somebody has
// in its directory.
func isServer(proc string) bool {
	comm, err := os.ReadFile(filepath.Join(proc, "comm"))
	if err != nil {
		return false
	}
	comm = bytes.TrimSpace(comm)
	return bytes.Equal(comm, []byte("postgres")) || bytes.Equal(comm, []byte("postmaster"))
}

// lockHolder is the process that postmaster.pid names, if it lives and is
// PostgreSQL.
func lockHolder(data *os.Root) (pid int, running bool, err error) {
	content, err := readFile(data, "postmaster.pid", maxConf)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	first, _, _ := bytes.Cut(content, []byte("\n"))
	pid, err = strconv.Atoi(string(bytes.TrimSpace(first)))
	if err != nil || pid <= 0 {
		return 0, false, nil // a lock that names nobody is nobody's
	}
	alive := unix.Kill(pid, 0)
	return pid, (alive == nil || alive == unix.EPERM) && isServer("/proc/"+strconv.Itoa(pid)), nil
}
