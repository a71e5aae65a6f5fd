package docker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/container/docker"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/need"
)

// inPrivate marks the process that has network and mount namespaces of its own.
const inPrivate = "CLONED_TEST_PRIVATE_ENGINE"

// TestPrivateEngine runs what needs an engine, a network and a name server that
// may be stopped and rearranged: in network and mount namespaces of its own, so
// that nothing of it is seen outside.
func TestPrivateEngine(t *testing.T) {
	if os.Getenv(inPrivate) != "" {
		testPrivateEngine(t)
		return
	}
	need.Root(t)
	need.Docker(t)
	need.Postgres(t)
	if testing.Short() {
		t.Skip("starts a Docker Engine twice")
	}
	for _, program := range []string{"dockerd", "ip", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestPrivateEngine$", "-test.v")
	cmd.Env = append(os.Environ(), inPrivate+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestPrivateEngine/Restart") {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// private is the world of TestPrivateEngine.
type private struct {
	scripts string
	dir     string
	host    string
	rt      *docker.Runtime
	names   *nameServer
}

const privateInstallation = "private"

func testPrivateEngine(t *testing.T) {
	w := &private{scripts: "../../scripts"}
	var err error
	if w.dir, err = os.MkdirTemp("/var/tmp", "dockertest-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, "rm", "-r", w.dir) })
	resolv := filepath.Join(w.dir, "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	must(t, "mount", "--make-rprivate", "/")
	must(t, "mount", "--bind", resolv, "/etc/resolv.conf")
	must(t, "ip", "link", "set", "lo", "up")
	w.names = serveNames(t)
	w.up(t)
	t.Cleanup(func() { must(t, w.scripts+"/docker-down", "--dir", w.engine()) })
	must(t, "env", "DOCKER_HOST="+w.host, w.scripts+"/postgres-image", image)
	if w.rt, err = docker.Open(t.Context(), docker.Config{Host: w.host, Instance: privateInstallation}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.rt.Close() })
	for _, c := range []struct {
		name string
		run  func(*private, *testing.T)
	}{
		{"NotBeforeSetup", (*private).notBeforeSetup}, {"Isolation", (*private).isolation}, {"Names", (*private).nameServer}, {"Mended", (*private).mended},
		{"Refused", (*private).refused}, {"OtherNamespace", (*private).otherNamespace}, {"Foreign", (*private).foreign}, {"Calls", (*private).calls},
		{"Leftovers", (*private).leftovers}, {"Restart", (*private).restart}, {"Teardown", (*private).teardown},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(w, t) })
	}
}

func (w *private) engine() string { return filepath.Join(w.dir, "engine") }

// up starts the engine, again if it has been stopped.
func (w *private) up(t *testing.T) {
	t.Helper()
	// The machine's own engine, if there is one, is not to be found.
	absent := "DOCKER_HOST=unix://" + filepath.Join(w.dir, "absent.sock")
	w.host = strings.TrimSpace(must(t, "env", absent, w.scripts+"/docker-up", "--dir", w.engine()))
}

func (w *private) docker(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(must(t, append([]string{"docker", "-H", w.host}, args...)...))
}

// must runs a command that has to succeed, at the end of a test too.
func must(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s%s", err, out, exit.Stderr)
		}
		t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	return string(out)
}

// start starts an instance that is removed at the end of the test.
func (w *private) start(t *testing.T, id string, argv ...string) container.Spec {
	t.Helper()
	spec := container.Spec{ID: id, Image: image, Argv: argv, User: w.rt.DefaultUser(), StopSignal: "SIGINT"}
	if err := w.rt.Start(t.Context(), spec); err != nil {
		t.Fatalf("Start: %v", err)
	}
	w.removeLater(t, id)
	return spec
}

func (w *private) removeLater(t *testing.T, id string) {
	t.Cleanup(func() {
		if err := w.rt.Remove(context.Background(), id); err != nil {
			t.Error(err)
		}
	})
}

// startPostgres starts a server on a fresh volume, published on an address of
// the host, which anybody may log in to.
func (w *private) startPostgres(t *testing.T, id, addr string, port int) container.Spec {
	t.Helper()
	volume := filepath.Join(w.dir, id)
	user := w.rt.DefaultUser()
	if err := errors.Join(os.Mkdir(volume, 0o700), os.Chown(volume, user.UID, user.GID)); err != nil {
		t.Fatal(err)
	}
	err := w.rt.Run(t.Context(), container.Task{
		ID: "t-" + id, Image: image, User: user, Volume: volume,
		Argv: []string{"sh", "-ec", "initdb -D /cloned/data --no-sync -E UTF8 --locale=C -U admin --auth=trust; printf 'local all all trust\\nhost all all 0.0.0.0/0 trust\\n' > /cloned/hba"},
	})
	if err != nil {
		t.Fatalf("initdb: %v: %q", err, errs.As(err).Log)
	}
	spec := container.Spec{
		ID: id, Image: image, Volume: volume, User: user, StopSignal: "SIGINT",
		PublishAddr: addr, PublishPort: port, Port: 5432,
		Argv: []string{"postgres", "-D", "/cloned/data", "-c", "listen_addresses=0.0.0.0", "-c", "hba_file=/cloned/hba", "-c", "unix_socket_directories=/tmp"},
	}
	if err := w.rt.Start(t.Context(), spec); err != nil {
		t.Fatalf("Start: %v", err)
	}
	w.removeLater(t, id)
	w.awaitPostgres(t, spec)
	return spec
}

func (w *private) awaitPostgres(t *testing.T, spec container.Spec) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := w.rt.WaitReady(ctx, spec.ID, func(ctx context.Context) error { return answers(ctx, spec.PublishPort) })
	if err != nil {
		t.Fatalf("WaitReady: %v: %q", err, errs.As(err).Log)
	}
}
