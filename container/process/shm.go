package process

import (
	"bufio"
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
)

// removeShm removes the System V shared memory that a process has left which was
// killed. For root there is none: it had a namespace of its own for it.
func (r *Runtime) removeShm(id string, pid int) error {
	if r.root || pid == 0 {
		return nil
	}
	left, err := shmOf(pid)
	for _, shmid := range left {
		if _, e := unix.SysvShmCtl(shmid, unix.IPC_RMID, nil); !errors.Is(e, unix.EINVAL) && !errors.Is(e, unix.EIDRM) { // gone
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return errs.New(errs.Internal, "SHM", "removing the shared memory of instance %s: %w", id, err)
	}
	return nil
}

// shmOf lists the segments that a process has created and nobody is attached to;
// see "shm" in proc_sysvipc(5).
func shmOf(pid int) (ids []int, err error) {
	f, err := os.Open("/proc/sysvipc/shm")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	columns := map[string]int{}
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(columns) == 0 {
			for i, name := range fields {
				columns[name] = i
			}
			continue
		}
		if fields[columns["cpid"]] != strconv.Itoa(pid) || fields[columns["nattch"]] != "0" {
			continue
		}
		id, err := strconv.Atoi(fields[columns["shmid"]])
		if err != nil {
			return ids, err
		}
		ids = append(ids, id)
	}
	return ids, lines.Err()
}
