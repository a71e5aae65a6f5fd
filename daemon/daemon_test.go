package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/errs/grpcstatus"
	"github.com/cloned-db/cloned/internal/need"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// testConfig is a daemon on plain directories and processes, under a directory
// that the user of the databases can get through to.
func testConfig(t *testing.T) Config {
	t.Helper()
	need.Postgres(t)
	dir, err := os.MkdirTemp("/var/tmp", "cloned-daemon-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.StateDir = filepath.Join(dir, "state")
	cfg.Listen = []string{"unix://" + filepath.Join(dir, "sock"), "tcp://" + freeAddr(t)}
	cfg.MetricsListen = freeAddr(t)
	cfg.Storage.Driver, cfg.Runtime.Name = DriverDir, RuntimeProc
	cfg.Clones.Ports = Ports{First: 24100, Last: 24199}
	cfg.Clones.FreeFloor = PoolShare{Bytes: 1 << 20}
	cfg.ReconcileInterval = Duration(time.Second)
	return cfg
}

// freeAddr returns an address on which nothing listens just now.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func testOptions() Options {
	return Options{Version: "v0-test", Log: slog.New(slog.DiscardHandler)}
}

// startDaemon serves until stop is called or the test ends.
func startDaemon(t *testing.T, cfg Config, o Options) (stop func()) {
	t.Helper()
	d, err := Open(t.Context(), cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the daemon ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func dialDaemon(t *testing.T, target string) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// eventually waits for what nobody tells us of.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func httpGet(url string) (string, error) {
	resp, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), err
}

func TestDaemonLife(t *testing.T) {
	cfg := testConfig(t)
	notified := notifySocket(t, 500*time.Millisecond)
	stop := startDaemon(t, cfg, testOptions())
	if got := <-notified; got != ready {
		t.Errorf("the service manager heard %q first", got)
	}
	st, err := dialDaemon(t, cfg.Listen[0]).Host.GetStatus(t.Context(), &clonedv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if st.GetDriver() != "dir" || st.GetDriverReason() != "configured" || st.GetRuntime() != "process" ||
		st.GetVersion() != "v0-test" || !instancePattern.MatchString(st.GetInstance()) || st.GetPoolFloorBytes() != 1<<20 {
		t.Errorf("got %v", st)
	}
	_, err = dialDaemon(t, cfg.Listen[1]).Host.GetStatus(t.Context(), &clonedv1.GetStatusRequest{})
	if errs.As(err).Reason != grpcstatus.ReasonUnauthenticated {
		t.Errorf("by TCP, as nobody: %v", err)
	}
	base := "http://" + cfg.MetricsListen
	eventually(t, "ready", func() error { _, err := httpGet(base + "/readyz"); return err })
	if body, err := httpGet(base + "/metrics"); err != nil || !strings.Contains(body, `cloned_pool_free_bytes`) || !strings.Contains(body, `version="v0-test"`) {
		t.Errorf("/metrics: %v\n%s", err, body)
	}
	if _, err := Open(t.Context(), cfg, testOptions()); errs.As(err).Reason != "ALREADY_RUNNING" {
		t.Errorf("a second daemon: %v", err)
	}
	if got := <-notified; got != "WATCHDOG=1" {
		t.Errorf("the service manager heard %q", got)
	}
	go func() {
		for range notified { // the rest of the watchdog's
		}
	}()
	stop()
	if _, err := httpGet(base + "/healthz"); err == nil {
		t.Error("it answers after its end")
	}
	startDaemon(t, cfg, testOptions()) // everything was let go of
}

// notifySocket plays the service manager.
func notifySocket(t *testing.T, watchdog time.Duration) <-chan string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", fmt.Sprint(watchdog.Microseconds()))
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	heard := make(chan string)
	go func() {
		defer close(heard)
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			heard <- string(buf[:n])
		}
	}()
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return heard
}

// TestStoppingIsTold: the service manager and the health service hear of the
// end before it.
func TestStoppingIsTold(t *testing.T) {
	cfg := testConfig(t)
	notified := notifySocket(t, time.Hour)
	stop := startDaemon(t, cfg, testOptions())
	if got := <-notified; got != ready {
		t.Fatalf("heard %q", got)
	}
	c := dialDaemon(t, cfg.Listen[0])
	stream, err := c.Clones.WatchClones(t.Context(), &clonedv1.WatchClonesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	go stop()
	if got := <-notified; got != stopping {
		t.Errorf("heard %q", got)
	}
	if _, err := stream.Recv(); !errs.Is(err, errs.Unavailable) || !errs.As(err).Retryable {
		t.Errorf("a watch ended with %v", err)
	}
	stop()
	if _, err := client.Dial(t.Context(), cfg.Listen[0]); errs.As(err).Kind != errs.Unavailable {
		t.Errorf("after the end: %v", err)
	}
}

// TestRecordsLost: with volumes and without records nothing is begun, and
// nothing is swept.
func TestRecordsLost(t *testing.T) {
	cfg := testConfig(t)
	startDaemon(t, cfg, testOptions())()

	inst, err := openInstallation(cfg.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	volumes, err := wiring{cfg: cfg, inst: inst}.openDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := volumes.Create(t.Context(), "c-lost-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), cfg, Options{Log: testOptions().Log, Adopt: true}); errs.As(err).Reason != "NOT_LOST" {
		t.Errorf("adopting beside records: %v", err)
	}
	if err := os.Remove(storePath(cfg.StateDir)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the refusal must not make the store that is missing
		_, err = Open(t.Context(), cfg, testOptions())
		if e := errs.As(err); e.Reason != "RECORDS_LOST" || !strings.Contains(e.Hint, "--adopt") {
			t.Errorf("got %v", err)
		}
	}
	if _, err := volumes.Stat(t.Context(), "c-lost-1"); err != nil {
		t.Errorf("the volume is gone: %v", err)
	}
	if err := volumes.Destroy(t.Context(), "c-lost-1"); err != nil {
		t.Fatal(err)
	}
	startDaemon(t, cfg, testOptions()) // nothing is owned any more
}

// TestOpenFails: whatever fails, what was opened before it is let go of.
func TestOpenFails(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	good := testConfig(t)
	for name, change := range map[string]func(*Config){
		"bad configuration": func(c *Config) { c.Clones.Address = "x" },
		"no such group":     func(c *Config) { c.SocketGroup = "no-such-group" },
		"API address taken": func(c *Config) { c.Listen = append(c.Listen, "tcp://"+taken.Addr().String()) },
		"metrics' taken":    func(c *Config) { c.MetricsListen = taken.Addr().String() },
		"out of reach":      func(c *Config) { c.StateDir = outOfReach(t) },
		"no such dataset":   func(c *Config) { c.Storage.Driver, c.Storage.ZFS.Parent = DriverZFS, "no/such" },
	} {
		cfg := good
		change(&cfg)
		if _, err := Open(t.Context(), cfg, testOptions()); err == nil {
			t.Errorf("%s: it opened", name)
		}
	}
	startDaemon(t, good, testOptions())
}

// outOfReach is where the users of databases don't get to.
func outOfReach(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		return "/proc/state" // for us there is no other user to keep out
	}
	dir := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "state")
}

func TestTeardown(t *testing.T) {
	cfg := testConfig(t)
	log := slog.New(slog.DiscardHandler)
	if err := Teardown(t.Context(), cfg, log); err != nil {
		t.Errorf("before the first start: %v", err)
	}
	stop := startDaemon(t, cfg, testOptions())
	if err := Teardown(t.Context(), cfg, log); errs.As(err).Reason != "ALREADY_RUNNING" {
		t.Errorf("while it runs: %v", err)
	}
	stop()
	for range 2 {
		if err := Teardown(t.Context(), cfg, log); err != nil {
			t.Error(err)
		}
	}
}

func TestCheck(t *testing.T) {
	cfg := testConfig(t)
	var out strings.Builder
	if err := Check(t.Context(), cfg, &out); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	for _, want := range []string{"dir (configured)", "process (configured)", cfg.StateDir} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if _, err := os.Lstat(cfg.StateDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it made the state directory: %v", err)
	}
	out.Reset()
	cfg.Storage.Driver, cfg.Storage.ZFS.Parent, cfg.SocketGroup = DriverZFS, "no/such", "no-such-group"
	if _, err := os.Stat("/dev/zfs"); err == nil {
		t.Skip("this machine has ZFS")
	}
	if err := Check(t.Context(), cfg, &out); err == nil || strings.Count(out.String(), "FAILS") != 2 {
		t.Errorf("%v\n%s", err, &out)
	}
}
