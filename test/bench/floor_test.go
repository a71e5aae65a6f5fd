package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"

	"github.com/cloned-db/cloned/test/harness"
)

// floor makes by bare commands what the daemon makes: a clone of the volume, an
// instance with the very settings of one of the daemon's, and its first answer.
type floor struct {
	t testing.TB
	e *harness.Env
	// template is a clone of the daemon's, whose settings are copied.
	template harness.Clone
	volume   string // the template's, on the host
	snapshot string // the golden's, by the filesystem's name
	docker   *client.Client
	inspect  container.InspectResponse
	pid      int      // of the template's process
	argv     []string // and its command line
	next     atomic.Int64
}

// made is what the floor has made once.
type made struct {
	id, volume string
	process    *exec.Cmd
}

func newFloor(t testing.TB, e *harness.Env, template harness.Clone) *floor {
	t.Helper()
	f := &floor{t: t, e: e, template: template, volume: e.VolumePath(template), snapshot: e.SnapshotName(template.Snapshot)}
	if e.Runtime == "docker" {
		var err error
		if f.docker, err = client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.docker.Close() })
		if f.inspect, err = f.docker.ContainerInspect(t.Context(), "cloned-"+e.Instance+"-"+template.VolumeID()); err != nil {
			t.Fatal(err)
		}
		return f
	}
	f.pid = e.PostmasterPID(template)
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", f.pid))
	if err != nil {
		t.Fatal(err)
	}
	f.argv = strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	if f.argv[0], err = os.Readlink(fmt.Sprintf("/proc/%d/exe", f.pid)); err != nil {
		t.Fatal(err)
	}
	return f
}

// create makes one and returns when it has answered.
func (f *floor) create(ctx context.Context) (made, error) {
	n := f.next.Add(1)
	m := made{id: fmt.Sprintf("floor-%d", n)}
	// Above the daemon's range, so that nothing gets in the way of anything.
	port := f.e.PortLast + 100 + int(n)
	var err error
	if m.volume, err = f.cloneVolume(ctx, m.id); err != nil {
		return m, err
	}
	adapt := strings.NewReplacer(
		f.volume, m.volume,
		fmt.Sprint(f.template.Endpoint.Port), fmt.Sprint(port),
		"cloned-"+f.e.Instance+"-"+f.template.VolumeID(), m.id,
	)
	if f.docker != nil {
		err = f.startContainer(ctx, &m, adapt)
	} else {
		err = f.startProcess(&m, adapt)
	}
	if err != nil {
		return m, err
	}
	for {
		if answers(port) {
			return m, nil
		}
		select {
		case <-ctx.Done():
			return m, fmt.Errorf("no answer on port %d: %w", port, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// remove removes what create made.
func (f *floor) remove(ctx context.Context, m made) error {
	if f.docker != nil {
		if err := f.docker.ContainerRemove(ctx, m.id, container.RemoveOptions{Force: true}); err != nil {
			return err
		}
	} else {
		// As the daemon does with a clone that is deleted: nothing of it is to be kept.
		if err := syscall.Kill(-m.process.Process.Pid, syscall.SIGKILL); err != nil {
			return err
		}
		m.process.Wait()
	}
	switch f.e.Driver {
	case "zfs":
		return command(ctx, "zfs", "destroy", f.e.FloorDataset(m.id))
	case "btrfs":
		return command(ctx, "btrfs", "subvolume", "delete", m.volume)
	default:
		return os.RemoveAll(m.volume)
	}
}

func (f *floor) cloneVolume(ctx context.Context, id string) (path string, err error) {
	switch f.e.Driver {
	case "zfs":
		return f.e.FloorPath(id), command(ctx, "zfs", "clone", f.snapshot, f.e.FloorDataset(id))
	case "btrfs":
		path = filepath.Join(filepath.Dir(f.volume), "..", "..", id)
		return path, command(ctx, "btrfs", "subvolume", "snapshot", f.snapshot, path)
	default:
		path = filepath.Join(f.e.Dir, id)
		return path, command(ctx, "cp", "-a", "--reflink=auto", f.snapshot, path)
	}
}

func (f *floor) startContainer(ctx context.Context, m *made, adapt *strings.Replacer) error {
	config, host := *f.inspect.Config, *f.inspect.HostConfig
	config.Labels, config.Hostname = nil, ""
	if err := through(&config, adapt); err != nil {
		return err
	}
	if err := through(&host, adapt); err != nil {
		return err
	}
	net := &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{}}
	for name := range f.inspect.NetworkSettings.Networks {
		net.EndpointsConfig[name] = &network.EndpointSettings{}
	}
	if _, err := f.docker.ContainerCreate(ctx, &config, &host, net, nil, m.id); err != nil {
		return err
	}
	return f.docker.ContainerStart(ctx, m.id, container.StartOptions{})
}

func (f *floor) startProcess(m *made, adapt *strings.Replacer) error {
	argv := make([]string, len(f.argv))
	for i, arg := range f.argv {
		argv[i] = adapt.Replace(arg)
	}
	m.process = exec.Command(argv[0], argv[1:]...)
	uid, gid := harness.PostgresUser(f.t)
	m.process.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.Getuid() == 0 {
		// The namespaces are settings too: all of it ends with its first process, and
		// no shared memory is left of what is killed.
		m.process.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC
		m.process.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return m.process.Start()
}

// through replaces strings in all of a JSON-able value.
func through[T any](v *T, adapt *strings.Replacer) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var out T
	if err := json.Unmarshal([]byte(adapt.Replace(string(data))), &out); err != nil {
		return err
	}
	*v = out
	return nil
}

// startup is a StartupMessage of protocol 3.0 for the user "cloned".
var startup = append([]byte{0, 0, 0, 21, 0, 3, 0, 0}, "user\x00cloned\x00\x00"...)

// answers asks a PostgreSQL server for a session. A server that takes sessions
// asks for the password ('R'); one that is still starting up says so ('E'). See
// "Message Flow, Start-up" in PostgreSQL's documentation.
func answers(port int) bool {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write(startup); err != nil {
		return false
	}
	var b [1]byte
	_, err = io.ReadFull(conn, b[:])
	return err == nil && b[0] == 'R'
}

func command(ctx context.Context, argv ...string) error {
	if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return nil
}
