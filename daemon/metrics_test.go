package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// fakePlane is a plane with one golden and two clones.
type fakePlane struct {
	usageErr error
	status   control.Status
}

var madeAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (fakePlane) ListClones(context.Context, control.CloneFilter, int, string) ([]state.Clone, string, error) {
	return []state.Clone{
		{Name: "a", Golden: "shop", State: state.CloneReady},
		{Name: "b", Golden: "shop", State: state.CloneReady},
		{Name: "c", Golden: "shop", State: state.CloneFailed},
	}, "", nil
}
func (fakePlane) ListGoldens(context.Context) []state.Golden {
	return []state.Golden{{Name: "shop"}, {Name: "empty"}}
}
func (fakePlane) ListSnapshots(_ context.Context, golden string) ([]state.Snapshot, error) {
	if golden == "empty" {
		return nil, nil
	}
	return []state.Snapshot{{Created: madeAt}, {Created: madeAt.Add(-time.Hour)}}, nil
}
func (f fakePlane) Status(context.Context) control.Status { return f.status }
func (f fakePlane) Queued() int                           { return 4 }
func (f fakePlane) KeptBytes() int64                      { return 70 }
func (f fakePlane) Usage(_ context.Context, name string) (storage.Usage, error) {
	if name == "c" {
		return storage.Usage{}, f.usageErr
	}
	return storage.Usage{Unique: 100, Logical: 1e6}, nil
}

// fullRegistry has every metric, each with a value.
func fullRegistry(t *testing.T, plane planeView) (*prometheus.Registry, *planeCollector) {
	t.Helper()
	reg := prometheus.NewRegistry()
	m, err := newMetrics(reg, "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	c := newPlaneCollector(plane, slog.New(slog.DiscardHandler))
	c.now = func() time.Time { return madeAt.Add(90 * time.Second) }
	if err := reg.Register(c); err != nil {
		t.Fatal(err)
	}
	m.Phase(control.OpCreate, control.PhaseStart, control.ResultOK, 200*time.Millisecond)
	m.Operation(control.OpCreate, control.ResultOK, 300*time.Millisecond)
	m.Action("start", control.ResultOK)
	m.Restart("shop", true)
	m.Restart("shop", false)
	m.Reconcile(control.ResultOK, time.Millisecond)
	m.Orphans(3, true)
	m.Command("/usr/sbin/zfs", "clone", time.Millisecond, errors.New("no"))
	return reg, c
}

func fullPlane() fakePlane {
	return fakePlane{
		usageErr: errs.New(errs.NotFound, "GONE", "deleted meanwhile"),
		status:   control.Status{Space: storage.Space{Total: 1000, Free: 400}, FloorBytes: 50, Degraded: []string{"x"}},
	}
}

// TestMetricsLint is promtool's own check.
func TestMetricsLint(t *testing.T) {
	reg, _ := fullRegistry(t, fullPlane())
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestMetricValues(t *testing.T) {
	reg, c := fullRegistry(t, fullPlane())
	c.sampleOnce(t.Context())
	want := `# HELP cloned_clone_restarts_total Times that a clone's database ended by itself, by golden and cause (crash or oom).
# TYPE cloned_clone_restarts_total counter
cloned_clone_restarts_total{cause="crash",golden="shop"} 1
cloned_clone_restarts_total{cause="oom",golden="shop"} 1
# HELP cloned_golden_snapshot_age_seconds Age of a golden's newest snapshot.
# TYPE cloned_golden_snapshot_age_seconds gauge
cloned_golden_snapshot_age_seconds{golden="shop"} 90
# HELP cloned_orphan_alarm 1 while there are too many orphans for them to be swept without an operator.
# TYPE cloned_orphan_alarm gauge
cloned_orphan_alarm 1
# HELP cloned_orphans Volumes and instances that bear this installation's mark and have no record.
# TYPE cloned_orphans gauge
cloned_orphans 3
# HELP cloned_pool_clones_bytes Space that only clones hold: what deleting them all would free. Sampled about once a minute.
# TYPE cloned_pool_clones_bytes gauge
cloned_pool_clones_bytes 200
# HELP cloned_pool_free_bytes Free space of the storage pool.
# TYPE cloned_pool_free_bytes gauge
cloned_pool_free_bytes 400
# HELP cloned_pool_kept_bytes Space that only what is kept for undo holds: what forgetting it all would free. Sampled about once a minute.
# TYPE cloned_pool_kept_bytes gauge
cloned_pool_kept_bytes 70
# HELP cloned_pool_size_bytes Size of the storage pool.
# TYPE cloned_pool_size_bytes gauge
cloned_pool_size_bytes 1000
# HELP cloned_queued_requests Requests that wait in line for room.
# TYPE cloned_queued_requests gauge
cloned_queued_requests 4
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "cloned_clone_restarts_total", "cloned_golden_snapshot_age_seconds",
		"cloned_orphans", "cloned_orphan_alarm", "cloned_pool_clones_bytes", "cloned_pool_free_bytes", "cloned_pool_kept_bytes", "cloned_pool_size_bytes", "cloned_queued_requests"); err != nil {
		t.Error(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "cloned_clones" {
			continue
		}
		if got, want := len(f.GetMetric()), 2*len(cloneStates()); got != want {
			t.Errorf("%d series of clones, want %d", got, want)
		}
		for _, m := range f.GetMetric() {
			labels := fmt.Sprint(m.GetLabel())
			ready := strings.Contains(labels, `"shop"`) && strings.Contains(labels, `"ready"`)
			if ready != (m.GetGauge().GetValue() == 2) {
				t.Errorf("%s is %v", labels, m.GetGauge().GetValue())
			}
		}
	}
}

// TestMetricsUnknown: what is not known is absent or old, never 0.
func TestMetricsUnknown(t *testing.T) {
	plane := fullPlane()
	plane.status.Space = storage.Space{}
	plane.usageErr = errs.New(errs.Unavailable, "BUSY", "no answer")
	reg, c := fullRegistry(t, plane)
	c.usage.Store(77)
	c.sampleOnce(t.Context())
	if got := c.usage.Load(); got != 77 {
		t.Errorf("half a sample was taken: %d", got)
	}
	if n, err := testutil.GatherAndCount(reg, "cloned_pool_size_bytes", "cloned_pool_free_bytes"); err != nil || n != 0 {
		t.Errorf("%d metrics of a pool that does not answer, %v", n, err)
	}
}

// TestSampleEnds: the sampler ends with its context although it rests.
func TestSampleEnds(t *testing.T) {
	_, c := fullRegistry(t, fullPlane())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.sample(ctx)
}

// describer finds out what is registered, with a value or without.
type describer struct{ rows []string }

var descPattern = regexp.MustCompile(`fqName: "(cloned_[a-z_]+)", help: "(.*?)", .*variableLabels: \{(.*?)\}`)

func (d *describer) Register(c prometheus.Collector) error {
	ch := make(chan *prometheus.Desc)
	go func() { c.Describe(ch); close(ch) }()
	for desc := range ch {
		match := descPattern.FindStringSubmatch(desc.String())
		if match == nil {
			continue // of Go or the process
		}
		labels := match[3]
		if match[1] == "cloned_build_info" {
			labels = "goversion,version"
		}
		d.rows = append(d.rows, fmt.Sprintf("| `%s` | %s | %s |", match[1], strings.ReplaceAll(labels, ",", ", "), match[2]))
	}
	return nil
}
func (d *describer) MustRegister(...prometheus.Collector) {}
func (d *describer) Unregister(prometheus.Collector) bool { return false }

// TestMetricsDocumented: docs/metrics.md lists exactly the metrics that there are.
func TestMetricsDocumented(t *testing.T) {
	var d describer
	if _, err := newMetrics(&d, "v"); err != nil {
		t.Fatal(err)
	}
	if err := d.Register(newPlaneCollector(fakePlane{}, nil)); err != nil {
		t.Fatal(err)
	}
	slices.Sort(d.rows)
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := regexp.MustCompile("(?m)^\\| `cloned_[a-z_]+` \\|.*$").FindAllString(string(page), -1)
	if !slices.Equal(d.rows, documented) {
		t.Errorf("docs/metrics.md should have:\n%s", strings.Join(d.rows, "\n"))
	}
}

func TestHTTP(t *testing.T) {
	reg, _ := fullRegistry(t, fullPlane())
	var ready error
	server := httptest.NewServer(newHTTP(reg, slog.New(slog.DiscardHandler), func() error { return ready }).Handler)
	defer server.Close()
	get := func(path string) (int, string) {
		resp, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if code, body := get("/metrics"); code != 200 || !strings.Contains(body, `cloned_build_info{goversion="go`) || !strings.Contains(body, "process_resident_memory_bytes") {
		t.Errorf("/metrics: %d %s", code, body)
	}
	if code, body := get("/readyz"); code != 200 || body != "ok\n" {
		t.Errorf("/readyz: %d %s", code, body)
	}
	ready = errors.New("not yet")
	if code, body := get("/readyz"); code != 503 || body != "not yet\n" {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if code, _ := get("/healthz"); code != 200 {
		t.Errorf("/healthz: %d", code)
	}
	if code, _ := get("/debug/pprof/"); code != 404 {
		t.Errorf("pprof: %d", code)
	}
}
