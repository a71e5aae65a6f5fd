package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// identity names a process for good: PIDs are reused, a PID with its start time
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
	now, err := statusOf(pid)
	return identity{PID: pid, Start: now.start, Boot: boot}, err
}

// status is what /proc/PID/stat says of a process; see proc_pid_stat(5).
type status struct {
	start   uint64 // as in identity
	state   byte
	threads int
}

func statusOf(pid int) (status, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return status{}, err
	}
	s, err := parseStat(data)
	if err != nil {
		err = fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	return s, err
}

// isGone says that /proc has no such process any more.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }

func parseStat(data []byte) (status, error) {
	// The name, field 2, is in parentheses and may contain anything.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 20 {
		return status{}, fmt.Errorf("%d fields after the name", len(fields))
	}
	s := status{state: fields[0][0]}
	if len(fields[0]) != 1 || !unicode.IsLetter(rune(s.state)) {
		return status{}, fmt.Errorf("%q is no state", fields[0])
	}
	var err, failed error
	s.threads, failed = strconv.Atoi(string(fields[17]))
	s.start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return s, errors.Join(err, failed)
}

// open returns a descriptor that stands for this very process, whatever becomes
// of its PID; nil if the process has ended.
func (id identity) open(boot string) (*os.File, error) {
	fd, ok, err := id.pidfd(boot)
	if !ok || err != nil {
		return nil, err
	}
	return newPidfd(fd)
}

// signal sends a signal to the process, if it has not ended.
func (id identity) signal(boot string, sig unix.Signal) error {
	fd, ok, err := id.pidfd(boot)
	if !ok || err != nil {
		return err
	}
	defer unix.Close(fd)
	return sent(unix.PidfdSendSignal(fd, sig, nil, 0))
}

// pidfd is open, but Go's poller does not know of the descriptor; false if the
// process has ended.
func (id identity) pidfd(boot string) (fd int, ok bool, err error) {
	if id.PID == 0 || id.Boot != boot {
		return 0, false, nil
	}
	fd, err = unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, os.NewSyscallError("pidfd_open", err)
	}
	// Only now can the PID not be given to another process any more.
	now, err := statusOf(id.PID)
	ended := isGone(err)
	if err == nil {
		ended = now.start != id.Start || now.state == 'Z' || now.state == 'X'
	}
	if ended || err != nil {
		unix.Close(fd)
		if ended {
			err = nil
		}
		return 0, false, err
	}
	return fd, true, nil
}

// newPidfd lets Go's poller wait for a pidfd, so that no thread has to.
func newPidfd(fd int) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// signal sends a signal to the process of a pidfd, if it has not ended.
func signal(pidfd *os.File, sig unix.Signal) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	if err != nil {
		return os.ErrClosed // its only error, by another name than the file's own
	}
	return sent(failed)
}

// sent is the error of a signal, which is none if the process has ended.
func sent(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// await returns when the process of a pidfd has ended, or with an error when
// the file is closed.
func await(pidfd *os.File) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		// A pidfd is readable once its process has ended (pidfd_open(2)).
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		failed = err
		return n > 0 || (err != nil && !errors.Is(err, unix.EINTR))
	})
	return errors.Join(err, failed)
}
