package docker

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
)

// killLeft kills what still runs of a container that the Engine takes to have
// ended, and returns when it is gone. That happens when the Engine died, or was
// too slow, while the container ended; a second one on the same volume would
// destroy its data. What runs in a container has its ID in the name of its
// cgroup, with every cgroup driver.
func killLeft(ctx context.Context, dockerID string) error {
	if !isDockerID(dockerID) {
		return classify("ending a container", errAnswer)
	}
	for {
		left, err := processesOf(dockerID)
		if err != nil {
			return errs.New(errs.Internal, "PROC", "looking for processes of container %.12s: %w", dockerID, err)
		}
		if len(left) == 0 {
			return nil
		}
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL) // the next look tells whether it is gone
		}
		select {
		case <-ctx.Done():
			return errs.New(errs.Unavailable, "PROCESSES_LEFT", "container %.12s has ended, but its processes %v do not: %w", dockerID, left, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// processesOf lists the host's processes in a container's cgroups.
func processesOf(dockerID string) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	var out []int
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(content), dockerID) { // it may have ended
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, err
		}
		out = append(out, pid)
	}
	return out, nil
}
