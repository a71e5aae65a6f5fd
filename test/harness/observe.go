package harness

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// CheckNothingLeft proves that what exists outside is exactly what the daemon's
// records say: every volume, instance and port has an owner, and every clone
// has its volume and instance. Collection takes a moment, so it waits for it.
func (e *Env) CheckNothingLeft() {
	e.t.Helper()
	Eventually(e.t, 60*time.Second, "nothing is left over", func() error {
		e.t.Helper()
		volumes, instances, ports := map[string]bool{}, map[string]bool{}, map[int]bool{}
		for _, c := range append(e.List(), e.Deleted()...) {
			volumes[c.VolumeID()] = true
			for _, k := range c.Kept {
				volumes[fmt.Sprintf("c-%s-%s", c.ID, k.Generation)] = true
			}
			if c.State == "CLONE_STATE_READY" {
				instances[c.VolumeID()] = true
				ports[c.Endpoint.Port] = true
			}
		}
		for _, id := range e.ancestors() {
			volumes["c-"+id+"-1"] = true // of the tests, none was reset before
		}
		for _, id := range strings.Fields(e.Ctl("snapshot", "ls", "-o", "name")) {
			volumes["g-"+id] = true
		}
		if got, want := e.Volumes(), slices.Sorted(maps.Keys(volumes)); !slices.Equal(got, want) {
			return fmt.Errorf("volumes %v, records %v", got, want)
		}
		if got, want := e.instances(), slices.Sorted(maps.Keys(instances)); !slices.Equal(got, want) {
			return fmt.Errorf("instances %v, records %v", got, want)
		}
		if got, want := e.listening(), slices.Sorted(maps.Keys(ports)); !slices.Equal(got, want) {
			return fmt.Errorf("ports %v, records %v", got, want)
		}
		for name := range orphanedMemory(e.t) {
			if !e.memory[name] {
				return fmt.Errorf("shared memory %s, which nobody uses", name)
			}
		}
		return nil
	})
}

// ancestors lists the IDs of the clones that are deleted, and are there only for
// what descends from them.
func (e *Env) ancestors() (ids []string) {
	e.t.Helper()
	var nodes []struct {
		ID, Kind string
		Deleted  bool
	}
	if err := json.Unmarshal([]byte(e.Ctl("tree", "-o", "json")), &nodes); err != nil {
		e.t.Fatal(err)
	}
	for _, n := range nodes {
		if n.Deleted && n.Kind == "KIND_CLONE" {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// orphanedMemory is PostgreSQL's shared memory on the host that no process uses.
func orphanedMemory(t testing.TB) map[string]bool {
	t.Helper()
	used := map[string]bool{}
	mapped, err := filepath.Glob("/proc/[0-9]*/maps")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range mapped {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(content)) {
			if _, name, ok := strings.Cut(line, "/dev/shm/"); ok {
				used["/dev/shm/"+strings.TrimSpace(name)] = true
			}
		}
	}
	orphans := map[string]bool{}
	files, err := filepath.Glob("/dev/shm/PostgreSQL.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !used[file] {
			orphans[file] = true
		}
	}
	segments, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(segments)) {
		// key shmid perms size cpid lpid nattch …: see proc_sysvipc(5).
		if f := strings.Fields(line); f[6] == "0" {
			orphans["System V "+f[1]] = true
		}
	}
	return orphans
}

// Footprint is all that exists outside and in the records, as one text.
func (e *Env) Footprint() string {
	e.t.Helper()
	return fmt.Sprint(e.Volumes(), e.instances(), e.listening(),
		strings.Fields(e.Ctl("ls", "-o", "name")), strings.Fields(e.Ctl("golden", "ls", "-o", "name")))
}

var volumeName = regexp.MustCompile(`^[cg]-[a-z0-9]+(-[0-9]+)?$`)

// Volumes lists the installation's volumes by the filesystem's own tools.
func (e *Env) Volumes() []string {
	e.t.Helper()
	var names []string
	add := func(path string) {
		if name := filepath.Base(path); volumeName.MatchString(name) {
			names = append(names, name)
		}
	}
	switch e.Driver {
	case "zfs":
		for line := range strings.Lines(e.run("zfs", "list", "-H", "-r", "-o", "name", zparent)) {
			add(strings.TrimSpace(line))
		}
	case "btrfs":
		for line := range strings.Lines(e.run("btrfs", "subvolume", "list", e.poolMount())) {
			f := strings.Fields(line)
			add(f[len(f)-1])
		}
	case "dir":
		entries, err := filepath.Glob(filepath.Join(e.Dir, "state/volumes/*/v/*"))
		if err != nil {
			e.t.Fatal(err)
		}
		for _, path := range entries {
			add(path)
		}
	}
	slices.Sort(names)
	return names
}

// poolMount is where the daemon mounted its btrfs pool.
func (e *Env) poolMount() string {
	e.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		e.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if f[2] == "btrfs" && strings.HasPrefix(f[1], e.Dir+"/") {
			return f[1]
		}
	}
	e.t.Fatalf("no btrfs is mounted under %s", e.Dir)
	return ""
}

// instances lists the IDs of the installation's instances, tasks included.
func (e *Env) instances() []string {
	e.t.Helper()
	var ids []string
	if e.Runtime == "docker" {
		out := e.run("docker", "ps", "-a", "--filter", "label=io.cloned.instance="+e.Instance, "--format", `{{.Label "io.cloned.id"}}`)
		ids = strings.Fields(out)
	} else {
		for _, id := range e.processes() {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// processes finds the processes of the installation's instances by the mark in
// their environment: process ID to instance ID.
func (e *Env) processes() map[int]string {
	found := map[int]string{}
	if e.Runtime == "docker" {
		return found
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		e.t.Fatal(err)
	}
	for _, dir := range dirs {
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil {
			continue // it has ended, or is not ours to see
		}
		for _, variable := range strings.Split(string(env), "\x00") {
			if id, ok := strings.CutPrefix(variable, "CLONED_INSTANCE="+e.Instance+"/"); ok {
				pid, err := strconv.Atoi(filepath.Base(dir))
				if err != nil {
					e.t.Fatal(err)
				}
				found[pid] = id
			}
		}
	}
	return found
}

// listening lists the ports of the installation's range that something listens on.
func (e *Env) listening() []int {
	e.t.Helper()
	data, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		e.t.Fatal(err)
	}
	var ports []int
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != "0A" { // TCP_LISTEN, see linux/tcp_states.h
			continue
		}
		_, hex, _ := strings.Cut(f[1], ":")
		port, err := strconv.ParseInt(hex, 16, 32)
		if err != nil {
			e.t.Fatal(err)
		}
		if p := int(port); p >= e.PortFirst && p <= e.PortLast && !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	slices.Sort(ports)
	return ports
}

// PostmasterPID is the process ID, on the host, of a clone's server.
func (e *Env) PostmasterPID(c Clone) int {
	e.t.Helper()
	if e.Runtime == "docker" {
		out := e.run("docker", "inspect", "-f", "{{.State.Pid}}", "cloned-"+e.Instance+"-"+c.VolumeID())
		pid, err := strconv.Atoi(strings.TrimSpace(out))
		if err != nil {
			e.t.Fatal(err)
		}
		return pid
	}
	for pid, id := range e.processes() {
		if id != c.VolumeID() {
			continue
		}
		// The postmaster leads its session; its children do not.
		if cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.Contains(string(cmdline), "\x00-D\x00") {
			return pid
		}
	}
	e.t.Fatalf("no server of %s", c.Name)
	return 0
}

// BridgeGateway is the host's address on the clones' network.
func (e *Env) BridgeGateway() string {
	e.t.Helper()
	names := strings.Fields(e.run("docker", "network", "ls", "--filter", "label=io.cloned.instance="+e.Instance, "--format", "{{.Name}}"))
	if len(names) != 1 {
		e.t.Fatalf("networks of the installation: %v", names)
	}
	return strings.TrimSpace(e.run("docker", "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", names[0]))
}

// DestroyVolume destroys a clone's volume behind the daemon's back.
func (e *Env) DestroyVolume(c Clone) {
	e.t.Helper()
	Eventually(e.t, 30*time.Second, "the volume is destroyed", func() error {
		// Each time anew: the daemon starts it again meanwhile.
		for pid, id := range e.processes() {
			if id == c.VolumeID() {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if e.Runtime == "docker" {
			_ = exec.Command("docker", "rm", "-f", "cloned-"+e.Instance+"-"+c.VolumeID()).Run()
		}
		var argv []string
		switch e.Driver {
		case "zfs":
			argv = []string{"zfs", "destroy", "-f", zparent + "/" + c.VolumeID()}
		case "btrfs":
			argv = []string{"btrfs", "subvolume", "delete", e.volumePath(c)}
		case "dir":
			argv = []string{"rm", "-rf", e.volumePath(c)}
		}
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %v: %s", argv, err, out)
		}
		return nil
	})
}

func (e *Env) volumePath(c Clone) string {
	e.t.Helper()
	root := filepath.Join(e.Dir, "state/volumes")
	if e.Driver == "btrfs" {
		root = e.poolMount()
	}
	out := strings.TrimSpace(e.run("find", root, "-maxdepth", "4", "-name", c.VolumeID()))
	if out == "" {
		e.t.Fatalf("no volume %s under %s", c.VolumeID(), root)
	}
	return out
}
