package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// VolumePath is where the host sees a clone's volume.
func (e *Env) VolumePath(c Clone) string {
	e.t.Helper()
	if e.Driver == "zfs" {
		return strings.TrimSpace(e.run("zfs", "get", "-H", "-o", "value", "mountpoint", e.zparent()+"/"+c.VolumeID()))
	}
	return e.volumePath(c)
}

// SnapshotName is what the filesystem's own command calls a golden's snapshot.
func (e *Env) SnapshotName(id string) string {
	e.t.Helper()
	if e.Driver == "zfs" {
		return e.zparent() + "/g-" + id + "@cloned-" + e.Instance + "-ready"
	}
	root := filepath.Join(e.Dir, "state/volumes")
	if e.Driver == "btrfs" {
		root = e.poolMount()
	}
	found, err := filepath.Glob(filepath.Join(root, "*/s/g-"+id+"/ready"))
	if err != nil || len(found) != 1 {
		e.t.Fatalf("snapshot of %s: %v", id, found)
	}
	return found[0]
}

// VolumeDataset is the ZFS dataset of a clone's volume.
func (e *Env) VolumeDataset(c Clone) string { return e.zparent() + "/" + c.VolumeID() }

// FloorDataset is a ZFS dataset outside what the daemon owns.
func (e *Env) FloorDataset(id string) string { return e.zpool() + "/" + id }

// FloorPath is where FloorDataset is mounted.
func (e *Env) FloorPath(id string) string { return filepath.Join(e.Dir, "z", id) }

// PoolUsed is how many bytes of the pool are taken, after all has been written.
func (e *Env) PoolUsed() int64 {
	e.t.Helper()
	if e.Driver == "zfs" {
		e.run("zpool", "sync", e.zpool())
		n, err := strconv.ParseInt(strings.TrimSpace(e.run("zfs", "get", "-Hp", "-o", "value", "used", e.zpool())), 10, 64)
		if err != nil {
			e.t.Fatal(err)
		}
		return n
	}
	root := e.Dir
	if e.Driver == "btrfs" {
		root = e.poolMount()
		e.run("btrfs", "filesystem", "sync", root)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(root, &fs); err != nil {
		e.t.Fatal(err)
	}
	return int64(fs.Blocks-fs.Bfree) * fs.Bsize
}

// Resident is how much memory the daemon has resident, in bytes.
func (e *Env) Resident() int64 {
	e.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.PID()))
	if err != nil {
		e.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); f[0] == "VmRSS:" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				e.t.Fatal(err)
			}
			return kb << 10
		}
	}
	e.t.Fatal("no VmRSS")
	return 0
}

// Dial connects to the daemon's API. The connection ends with the test.
func (e *Env) Dial() *grpc.ClientConn {
	e.t.Helper()
	conn, err := e.connect()
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { conn.Close() })
	return conn
}

func (e *Env) connect() (*grpc.ClientConn, error) {
	return grpc.NewClient("unix://"+e.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
}
