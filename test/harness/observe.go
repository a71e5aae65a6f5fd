package harness

import (
	"context"
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

	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// CheckNothingLeft proves that what exists outside is exactly what the daemon's
// records say: every volume, snapshot, instance and port has an owner, and every
// clone has its volume and instance. Collection takes a moment, so it waits for
// it.
func (e *Env) CheckNothingLeft() {
	e.t.Helper()
	Eventually(e.t, 60*time.Second, "nothing is left over", e.NothingLeft)
}

// NothingLeft returns an error if at this moment something is left over, or
// missing.
func (e *Env) NothingLeft() error {
	e.t.Helper()
	// Anew each time, for the daemon may have been restarted; and through the API,
	// for clonectl looks at what each thing takes.
	conn, err := e.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	clones, err := allClones(ctx, clonedv1.NewCloneServiceClient(conn))
	if err != nil {
		return err
	}
	volumes, instances, ports := map[string]bool{}, map[string]bool{}, map[int]bool{}
	for _, c := range clones {
		volumes[fmt.Sprintf("c-%s-%d", c.GetId(), c.GetGeneration())] = true
		for _, k := range c.GetKept() {
			volumes[fmt.Sprintf("c-%s-%d", c.GetId(), k.GetGeneration())] = true
		}
		if c.GetState() == clonedv1.CloneState_CLONE_STATE_READY {
			instances[fmt.Sprintf("c-%s-%d", c.GetId(), c.GetGeneration())] = true
			ports[int(c.GetEndpoint().GetPort())] = true
		}
	}
	tree, err := clonedv1.NewHostServiceClient(conn).GetTree(ctx, &clonedv1.GetTreeRequest{})
	if err != nil {
		return err
	}
	snapshots := map[string]bool{}
	for _, n := range tree.GetNodes() {
		switch {
		case n.GetKind() == clonedv1.TreeNode_KIND_SNAPSHOT:
			snapshots[n.GetId()] = true
		case n.GetKind() == clonedv1.TreeNode_KIND_CLONE && n.GetDeleted(): // it is only there for what descends from it
			volumes["c-"+n.GetId()+"-1"] = true // of the tests, none was reset before
		}
	}
	list, err := clonedv1.NewGoldenServiceClient(conn).ListSnapshots(ctx, &clonedv1.ListSnapshotsRequest{})
	if err != nil {
		return err
	}
	for _, s := range list.GetSnapshots() {
		if s.GetClone() == "" {
			volumes["g-"+s.GetId()] = true
		}
	}
	if got, want := e.Volumes(), slices.Sorted(maps.Keys(volumes)); !slices.Equal(got, want) {
		return fmt.Errorf("volumes %v, records %v", got, want)
	}
	if got, want := e.snapshots(), slices.Sorted(maps.Keys(snapshots)); !slices.Equal(got, want) {
		return fmt.Errorf("snapshots %v, records %v", got, want)
	}
	if got, want := e.Instances(), slices.Sorted(maps.Keys(instances)); !slices.Equal(got, want) {
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
}

// allClones lists all clones, with those deleted ones that can be brought back.
func allClones(ctx context.Context, api clonedv1.CloneServiceClient) (all []*clonedv1.Clone, err error) {
	for _, state := range []clonedv1.CloneState{clonedv1.CloneState_CLONE_STATE_UNSPECIFIED, clonedv1.CloneState_CLONE_STATE_DELETING} {
		req := &clonedv1.ListClonesRequest{Filter: &clonedv1.CloneFilter{State: state}, PageSize: 1000}
		for {
			page, err := api.ListClones(ctx, req)
			if err != nil {
				return nil, err
			}
			all = append(all, page.GetClones()...)
			if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
	}
	return all, nil
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
	return fmt.Sprint(e.Volumes(), e.Instances(), e.listening(),
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
		for line := range strings.Lines(e.run("zfs", "list", "-H", "-r", "-o", "name", e.zparent())) {
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

// snapshots lists the IDs of the installation's snapshots by the filesystem's own
// tools; for a golden's, that of the golden's volume.
func (e *Env) snapshots() []string {
	e.t.Helper()
	var ids []string
	add := func(volume, id string) {
		if golden, ok := strings.CutPrefix(volume, "g-"); ok {
			id = golden
		}
		ids = append(ids, id)
	}
	switch e.Driver {
	case "zfs":
		for line := range strings.Lines(e.run("zfs", "list", "-H", "-r", "-t", "snapshot", "-o", "name", e.zparent())) {
			volume, name, _ := strings.Cut(filepath.Base(strings.TrimSpace(line)), "@")
			add(volume, strings.TrimPrefix(name, "cloned-"+e.Instance+"-"))
		}
	case "btrfs":
		for line := range strings.Lines(e.run("btrfs", "subvolume", "list", e.poolMount())) {
			f := strings.Fields(line)
			if volume, id := filepath.Split(f[len(f)-1]); volumeName.MatchString(filepath.Base(volume)) {
				add(filepath.Base(volume), id)
			}
		}
	case "dir":
		entries, err := filepath.Glob(filepath.Join(e.Dir, "state/volumes/*/s/*/*"))
		if err != nil {
			e.t.Fatal(err)
		}
		for _, path := range entries {
			add(filepath.Base(filepath.Dir(path)), filepath.Base(path))
		}
	}
	slices.Sort(ids)
	return ids
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

// Instances lists the IDs of the installation's instances, tasks included.
func (e *Env) Instances() []string {
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
			argv = []string{"zfs", "destroy", "-f", e.zparent() + "/" + c.VolumeID()}
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
