package docker_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/container/docker"
	"github.com/cloned-db/cloned/errs"
)

// foreign checks that what has our names and not our labels is not touched.
func (w *private) foreign(t *testing.T) {
	for _, labels := range [][]string{nil, {"--label", "io.cloned.instance=another", "--label", "io.cloned.id=foreign"}, {"--label", "io.cloned.instance=private", "--label", "io.cloned.id=other"}} {
		args := append([]string{"run", "-d", "--name", "cloned-private-foreign"}, labels...)
		id := w.docker(t, append(args, image, "sleep", "1000")...)
		spec := container.Spec{ID: "foreign", Image: image, Argv: []string{"sleep", "1000"}, User: w.rt.DefaultUser()}
		if err := w.rt.Start(t.Context(), spec); !errs.Is(err, errs.Exists) || !strings.Contains(err.Error(), "cloned-private-foreign") {
			t.Errorf("Start: %v", err)
		}
		if err := w.rt.Run(t.Context(), container.Task{ID: "foreign", Image: image, Argv: []string{"true"}}); !errs.Is(err, errs.Exists) {
			t.Errorf("Run: %v", err)
		}
		if _, err := w.rt.Inspect(t.Context(), "foreign"); !errs.Is(err, errs.NotFound) {
			t.Errorf("Inspect: %v", err)
		}
		if err := w.rt.Stop(t.Context(), "foreign", time.Second); !errs.Is(err, errs.NotFound) {
			t.Errorf("Stop: %v", err)
		}
		if err := w.rt.Remove(t.Context(), "foreign"); err != nil {
			t.Errorf("Remove: %v", err)
		}
		if state := w.docker(t, "inspect", "-f", "{{.Id}} {{.State.Running}}", "cloned-private-foreign"); state != id+" true" {
			t.Errorf("the foreign container is %s", state)
		}
		w.docker(t, "rm", "-f", id)
	}
}

// calls counts the calls of the Engine's API on the way of a new instance.
func (w *private) calls(t *testing.T) {
	proxy, calls := countCalls(t, w.host)
	rt, err := docker.Open(t.Context(), docker.Config{Host: proxy, Instance: privateInstallation})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	if _, err := rt.EnsureImage(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	calls()
	spec := container.Spec{ID: "counted", Image: image, Argv: []string{"sleep", "1000"}, User: rt.DefaultUser()}
	w.removeLater(t, spec.ID)
	if err := rt.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if got := calls(); len(got) != 2 || !strings.Contains(got[0], "/containers/create") || !strings.HasSuffix(got[1], "/start") {
		t.Errorf("Start made these calls: %q", got)
	}
	if err := rt.WaitReady(t.Context(), spec.ID, func(context.Context) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if got := calls(); len(got) > 1 {
		t.Errorf("WaitReady made these calls: %q", got)
	}
	if err := rt.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := calls(); len(got) != 1 {
		t.Errorf("Setup with nothing to do made these calls: %q", got)
	}
}

// countCalls stands between a client and the engine. calls returns what was
// asked since it was last called.
func countCalls(t *testing.T, host string) (address string, calls func() []string) {
	t.Helper()
	engine := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "engine"}) },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(host, "unix://"))
		}},
	}
	var mu sync.Mutex
	var seen []string
	socket := filepath.Join(t.TempDir(), "proxy.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Method+" "+r.URL.Path)
		mu.Unlock()
		engine.ServeHTTP(out, r)
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return "unix://" + socket, func() []string {
		mu.Lock()
		defer mu.Unlock()
		taken := seen
		seen = nil
		return slices.Clone(taken)
	}
}

// TestEngineAway asks an engine that is not there.
func TestEngineAway(t *testing.T) {
	rt, err := docker.Open(t.Context(), docker.Config{Host: "unix://" + filepath.Join(t.TempDir(), "absent.sock"), Instance: "away"})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	wantAway(t, rt)
}

// wantAway checks that nothing is said about instances while nobody knows.
func wantAway(t *testing.T, rt *docker.Runtime) {
	t.Helper()
	ctx := t.Context()
	_, inspect := rt.Inspect(ctx, "some")
	_, list := rt.List(ctx)
	_, ensure := rt.EnsureImage(ctx, "not/here:1")
	for what, err := range map[string]error{
		"Check": rt.Check(ctx), "Inspect": inspect, "List": list, "EnsureImage": ensure,
		"Stop": rt.Stop(ctx, "some", time.Second), "Remove": rt.Remove(ctx, "some"),
		"Run": rt.Run(ctx, container.Task{ID: "some", Image: image, Argv: []string{"true"}}),
		"WaitReady": rt.WaitReady(ctx, "some", func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}),
	} {
		if e := errs.As(err); !errs.Is(err, errs.Unavailable) || !e.Retryable || e.Hint == "" {
			t.Errorf("%s: %v, want Unavailable", what, err)
		}
	}
}

// restart stops the engine under a running instance and starts it again.
func (w *private) restart(t *testing.T) {
	spec := w.startPostgres(t, "restarted", "127.0.0.1", 20002)
	marker := writeMarker(t, spec.Volume)
	events := w.rt.Events(t.Context())
	rules := must(t, "nft", "list", "table", "inet", "cloned-private")
	must(t, w.scripts+"/docker-down", "--dir", w.engine(), "--keep")
	wantAway(t, w.rt)
	w.up(t)
	// The stop itself may have been reported; that the engine is back is.
	eventually(t, "the instance is reported", func() bool {
		select {
		case e, ok := <-events:
			return ok && e.ID == spec.ID && w.rt.Check(t.Context()) == nil
		default:
			return false
		}
	})
	if after := must(t, "nft", "list", "table", "inet", "cloned-private"); strings.Count(after, "\n") != strings.Count(rules, "\n") {
		t.Errorf("the rules after the restart:\n%s", after)
	}
	if err := w.rt.Setup(t.Context()); err != nil {
		t.Errorf("Setup: %v", err)
	}
	in, err := w.rt.Inspect(t.Context(), spec.ID)
	if err != nil || in.State != container.Exited {
		t.Errorf("after the restart: %+v, %v", in, err)
	}
	if err := w.rt.Start(t.Context(), spec); err != nil {
		t.Fatalf("Start: %v", err)
	}
	w.awaitPostgres(t, spec)
	w.docker(t, "exec", "cloned-private-restarted", "test", "-e", "/cloned/"+filepath.Base(marker))
}

// writeMarker proves that a volume is the one that was there before.
func writeMarker(t *testing.T, volume string) string {
	t.Helper()
	path := filepath.Join(volume, "marker")
	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func (w *private) teardown(t *testing.T) {
	w.start(t, "inuse", "sleep", "1000")
	if err := w.rt.Teardown(t.Context()); !errs.Is(err, errs.Precondition) {
		t.Errorf("Teardown with an instance: %v", err)
	}
	if got := w.networks(t); got != "cloned-private" {
		t.Errorf("networks after a refused Teardown: %q", got)
	}
	if err := w.rt.Remove(t.Context(), "inuse"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.rt.Teardown(t.Context()); err != nil {
			t.Errorf("Teardown: %v", err)
		}
	}
	if got := w.networks(t); got != "" {
		t.Errorf("networks after Teardown: %q", got)
	}
	if tables := must(t, "nft", "list", "tables"); strings.Contains(tables, "cloned-private") {
		t.Errorf("tables after Teardown:\n%s", tables)
	}
}

// networks lists the installation's networks.
func (w *private) networks(t *testing.T) string {
	t.Helper()
	return w.docker(t, "network", "ls", "--filter", "label=io.cloned.instance="+privateInstallation, "--format", "{{.Name}}")
}
