package docker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/container/docker"
	"github.com/cloned-db/cloned/errs"
)

// The outside: a host behind a veth pair, with an address as of the documentation
// and a link-local one, as clouds' metadata services have.
const (
	outsideName = "outside"
	hostAddr    = "198.51.100.1"
	outsideAddr = "198.51.100.2"
	metadata    = "169.254.77.77"
)

// listen listens on TCP and UDP and counts what comes, in the network namespace
// of the path; "" for our own.
func listen(t *testing.T, namespace, addr string) (port int, seen *counter) {
	t.Helper()
	seen = &counter{}
	type sockets struct {
		tcp net.Listener
		udp net.PacketConn
		err error
	}
	made := make(chan sockets, 1)
	go func() {
		var s sockets
		defer func() { made <- s }()
		if namespace != "" {
			// A socket belongs to the namespace of the thread that makes it. The
			// thread is not unlocked, so it ends with the goroutine.
			runtime.LockOSThread()
			f, err := os.Open(namespace)
			if err == nil {
				err = errors.Join(unix.Setns(int(f.Fd()), unix.CLONE_NEWNET), f.Close())
			}
			if s.err = err; err != nil {
				return
			}
		}
		if s.tcp, s.err = net.Listen("tcp4", addr+":0"); s.err == nil {
			s.udp, s.err = net.ListenPacket("udp4", s.tcp.Addr().String())
		}
	}()
	s := <-made
	if s.err != nil {
		t.Fatal(s.err)
	}
	t.Cleanup(func() { s.tcp.Close(); s.udp.Close() })
	go func() {
		for {
			conn, err := s.tcp.Accept()
			if err != nil {
				return
			}
			seen.add()
			conn.Close()
		}
	}()
	go func() {
		for {
			if _, _, err := s.udp.ReadFrom(make([]byte, 100)); err != nil {
				return
			}
			seen.add()
		}
	}()
	return s.tcp.Addr().(*net.TCPAddr).Port, seen
}

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *counter) get() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// makeOutside makes a host behind a veth pair and returns its namespace.
func makeOutside(t *testing.T) string {
	t.Helper()
	name := outsideName + fmt.Sprint(os.Getpid())
	must(t, "ip", "netns", "add", name)
	t.Cleanup(func() { must(t, "ip", "netns", "delete", name) })
	must(t, "ip", "link", "add", "veth-out", "type", "veth", "peer", "name", "eth0", "netns", name)
	must(t, "ip", "address", "add", hostAddr+"/24", "dev", "veth-out")
	must(t, "ip", "link", "set", "veth-out", "up")
	for _, args := range []string{
		"address add " + outsideAddr + "/24 dev eth0", "address add " + metadata + "/32 dev eth0", "link set lo up", "link set eth0 up", "route add default via " + hostAddr,
	} {
		must(t, append([]string{"ip", "-n", name}, strings.Fields(args)...)...)
	}
	must(t, "ip", "route", "add", metadata+"/32", "via", outsideAddr)
	must(t, "ip", "route", "add", "default", "via", outsideAddr)
	t.Cleanup(func() { must(t, "ip", "link", "delete", "veth-out") })
	return "/run/netns/" + name
}

// target is something to connect to.
type target struct {
	addr string
	port int
}

// connect is a shell script that connects to a target, and sends a packet to it.
const connect = `timeout 2 bash -c 'exec 3<>/dev/tcp/%[1]s/%[2]d' 2>/dev/null && echo %[3]s; (echo x > /dev/udp/%[1]s/%[2]d) 2>/dev/null`

// reaches returns the names of the targets that can be connected to from inside
// a container, sorted. It tries all at once.
func (w *private) reaches(t *testing.T, name string, targets map[string]target) []string {
	t.Helper()
	var script strings.Builder
	for what, at := range targets {
		fmt.Fprintf(&script, "( "+connect+" ) & ", at.addr, at.port, what)
	}
	reached := strings.Fields(w.docker(t, "exec", name, "bash", "-c", script.String()+"wait; true"))
	slices.Sort(reached)
	return reached
}

// isolation tries each way out, and in, that must not be. The database is
// published on all addresses of the host.
func (w *private) isolation(t *testing.T) {
	if !w.rt.Capabilities().Isolated {
		t.Error("the runtime does not say that it isolates")
	}
	outside := makeOutside(t)
	outsidePort, outsideSeen := listen(t, outside, "0.0.0.0")
	hostPort, hostSeen := listen(t, "", "0.0.0.0")
	victim := w.startPostgres(t, "victim", "0.0.0.0", 20001)
	attacker := w.start(t, "attacker", "sleep", "1000").ID
	inside := w.docker(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}} {{.IPAddress}}{{end}}", "cloned-private-victim")
	gateway, victimAddr, _ := strings.Cut(inside, " ")

	// The control: from another network of the engine all of it can be reached,
	// so that what is dropped below is dropped by us.
	w.docker(t, "network", "create", "plain")
	t.Cleanup(func() { w.docker(t, "network", "rm", "plain") })
	w.docker(t, "run", "-d", "--name", "plain", "--network", "plain", image, "sleep", "1000")
	t.Cleanup(func() { w.docker(t, "rm", "-f", "plain") })
	plainGateway := w.docker(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", "plain")
	targets := map[string]target{
		"outside": {outsideAddr, outsidePort}, "metadata": {metadata, outsidePort},
		"host": {hostAddr, hostPort}, "bridge": {plainGateway, hostPort},
	}
	if got := w.reaches(t, "plain", targets); len(got) != len(targets) {
		t.Errorf("the control reaches only %v", got)
	}
	eventually(t, "the control's packets arrive", func() bool { return outsideSeen.get() >= 4 && hostSeen.get() >= 4 })
	outsideBefore, hostBefore := outsideSeen.get(), hostSeen.get()

	targets["gateway"] = target{gateway, hostPort}
	targets["published"] = target{gateway, victim.PublishPort}
	if got := w.reaches(t, "cloned-private-victim", targets); len(got) > 0 {
		t.Errorf("connections leave the database to: %v", got)
	}
	// Docker, too, keeps neighbours apart, as far as it can: see that we do.
	rules := func() string { return must(t, "nft", "list", "table", "inet", "cloned-private") }
	only := map[string]target{"neighbour": {victimAddr, victim.Port}}
	counted := rules()
	if got := w.reaches(t, "cloned-private-"+attacker, only); len(got) > 0 || rules() == counted {
		t.Errorf("what goes to a neighbour is not dropped by our rules: %v\n%s", got, rules())
	}
	if got := w.reaches(t, "cloned-private-"+attacker, targets); len(got) > 0 {
		t.Errorf("connections leave to: %v", got)
	}
	// SQL is no way out either.
	out := w.docker(t, "exec", "cloned-private-victim", "psql", "-h", "/tmp", "-U", "admin", "-Atc",
		fmt.Sprintf("copy (select 1) to program $$timeout 1 bash -c 'echo x > /dev/tcp/%s/%d' 2>/dev/null; true$$", outsideAddr, outsidePort), "postgres")
	if out != "COPY 1" {
		t.Errorf("COPY TO PROGRAM said %q", out)
	}
	if outsideSeen.get() != outsideBefore || hostSeen.get() != hostBefore {
		t.Errorf("something came out: %d outside, %d at the host", outsideSeen.get()-outsideBefore, hostSeen.get()-hostBefore)
	}
	// Nor does anything come in but through the published port: not from another
	// network of the engine, and not from the outside, though it knows the way.
	if got := w.reaches(t, "plain", only); len(got) > 0 {
		t.Error("another container reaches the database past its published port")
	}
	if got := must(t, "nsenter", "--net="+outside, "bash", "-c", fmt.Sprintf(connect+"; true", victimAddr, victim.Port, "reached")); got != "" {
		t.Error("the outside reaches the database past its published port")
	}
	if got := must(t, "nsenter", "--net="+outside, "bash", "-c", fmt.Sprintf(connect+"; true", hostAddr, victim.PublishPort, "reached")); got != "reached\n" {
		t.Error("the outside does not reach the published port, on an address that is published on")
	}
	if err := answers(t.Context(), victim.PublishPort); err != nil {
		t.Errorf("the published port: %v", err)
	}
}

// answers asks a PostgreSQL server on the loopback address whether it speaks
// TLS, which it answers with one letter (protocol, message SSLRequest).
func answers(ctx context.Context, port int) error {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		return err
	}
	answer := make([]byte, 1)
	if _, err := conn.Read(answer); err != nil {
		return err
	}
	if answer[0] != 'N' && answer[0] != 'S' {
		return fmt.Errorf("it answered %q", answer)
	}
	return nil
}

func (w *private) notBeforeSetup(t *testing.T) {
	if w.rt.Capabilities().Isolated {
		t.Error("it says that it isolates before it has looked")
	}
	// Start sets up what is missing.
	w.start(t, "first", "sleep", "1000")
	if !w.rt.Capabilities().Isolated {
		t.Error("it does not say that it isolates")
	}
}

// mended takes rules and network away.
func (w *private) mended(t *testing.T) {
	rules := func() string { return must(t, "nft", "list", "table", "inet", "cloned-private") }
	before := rules()
	for name, mend := range map[string]func(*testing.T){
		"setup": func(t *testing.T) {
			if err := w.rt.Setup(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"start": func(t *testing.T) { w.start(t, "mender", "sleep", "1000") },
	} {
		t.Run(name, func(t *testing.T) {
			must(t, "nft", "delete", "table", "inet", "cloned-private")
			mend(t)
			if after := rules(); strings.Count(after, "\n") != strings.Count(before, "\n") {
				t.Errorf("the rules are\n%s", after)
			}
		})
	}
	w.docker(t, "network", "rm", "cloned-private")
	w.start(t, "mender", "sleep", "1000")
}

// refused makes it impossible to keep neighbours apart.
func (w *private) refused(t *testing.T) {
	if strings.Contains(must(t, "nft", "list", "tables"), "table bridge cloned-private") {
		t.Skip("this kernel has nft_meta_bridge, so the rules do not depend on br_netfilter")
	}
	const filtered = "/proc/sys/net/bridge/bridge-nf-call-iptables"
	set := func(value string) {
		if err := os.WriteFile(filtered, []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set("0")
	defer set("1")
	spec := container.Spec{ID: "refused", Image: image, Argv: []string{"sleep", "1000"}, User: w.rt.DefaultUser()}
	for range 2 {
		err := w.rt.Start(t.Context(), spec)
		if e := errs.As(err); !errs.Is(err, errs.Precondition) || e.Reason != container.ReasonNotIsolated || e.Hint == "" {
			t.Errorf("Start: %v", err)
		}
	}
	if w.rt.Capabilities().Isolated {
		t.Error("it says that it isolates")
	}
	if _, err := w.rt.Inspect(t.Context(), spec.ID); !errs.Is(err, errs.NotFound) {
		t.Errorf("Inspect: %v", err)
	}
	set("1")
	w.start(t, spec.ID, spec.Argv...)
}

// otherNamespace uses the machine's own engine, which runs in another network
// namespace than this test.
func (w *private) otherNamespace(t *testing.T) {
	rt, err := docker.Open(t.Context(), docker.Config{Instance: "elsewhere"})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	if err := rt.Check(t.Context()); err != nil {
		t.Skip(err)
	}
	defer func() {
		if err := rt.Teardown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	err = rt.Start(t.Context(), container.Spec{ID: "refused", Image: image, Argv: []string{"sleep", "1000"}, User: rt.DefaultUser()})
	if e := errs.As(err); !errs.Is(err, errs.Precondition) || e.Reason != container.ReasonNotIsolated {
		t.Errorf("Start: %v", err)
	}
	if rt.Capabilities().Isolated {
		t.Error("it says that it isolates")
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for this: %s", what)
		}
	}
}
