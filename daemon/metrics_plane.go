package daemon

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// scrapeTimeout bounds what a scrape waits for the storage driver; Prometheus
// gives up after 10 s by default.
const scrapeTimeout = 5 * time.Second

// planeView is what the collector reads of the control plane.
type planeView interface {
	ListClones(ctx context.Context, f control.CloneFilter, pageSize int, pageToken string) ([]state.Clone, string, error)
	ListGoldens(ctx context.Context) []state.Golden
	ListSnapshots(ctx context.Context, golden string) ([]state.Snapshot, error)
	Status(ctx context.Context) control.Status
	Usage(ctx context.Context, name string) (storage.Usage, error)
	KeptBytes() int64
	Queued() int
}

// planeCollector reads the plane's state off at each scrape.
type planeCollector struct {
	plane planeView
	log   *slog.Logger
	now   func() time.Time
	// usage is what all clones hold for themselves, in bytes, as last sampled.
	usage atomic.Int64

	clones, age, poolSize, poolFree, poolFloor, poolClones, poolKept, queued, degraded *prometheus.Desc
}

func newPlaneCollector(plane planeView, log *slog.Logger) *planeCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &planeCollector{
		plane: plane, log: log, now: time.Now,
		clones:     desc("cloned_clones", "Clones, by golden and state.", "golden", "state"),
		age:        desc("cloned_golden_snapshot_age_seconds", "Age of a golden's newest snapshot.", "golden"),
		poolSize:   desc("cloned_pool_size_bytes", "Size of the storage pool."),
		poolFree:   desc("cloned_pool_free_bytes", "Free space of the storage pool."),
		poolFloor:  desc("cloned_pool_floor_bytes", "Free space of the storage pool below which nothing new is made."),
		poolClones: desc("cloned_pool_clones_bytes", "Space that only clones hold: what deleting them all would free. Sampled about once a minute."),
		poolKept:   desc("cloned_pool_kept_bytes", "Space that only what is kept for undo holds: what forgetting it all would free. Sampled about once a minute."),
		queued:     desc("cloned_queued_requests", "Requests that wait in line for room."),
		degraded:   desc("cloned_degraded", "Number of things that are not as they should be; the host's status names them."),
	}
}

// Describe implements prometheus.Collector.
func (c *planeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.clones, c.age, c.poolSize, c.poolFree, c.poolFloor, c.poolClones, c.poolKept, c.queued, c.degraded} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *planeCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	goldens := c.plane.ListGoldens(ctx)
	c.collectGoldens(ctx, goldens, gauge)
	c.collectClones(ctx, goldens, gauge)

	status := c.plane.Status(ctx)
	gauge(c.degraded, float64(len(status.Degraded)))
	gauge(c.poolFloor, float64(status.FloorBytes))
	gauge(c.poolClones, float64(c.usage.Load()))
	gauge(c.poolKept, float64(c.plane.KeptBytes()))
	gauge(c.queued, float64(c.plane.Queued()))
	if status.Space.Total > 0 { // otherwise it is unknown, and no zero
		gauge(c.poolSize, float64(status.Space.Total))
		gauge(c.poolFree, float64(status.Space.Free))
	}
}

func (c *planeCollector) collectGoldens(ctx context.Context, goldens []state.Golden, gauge func(*prometheus.Desc, float64, ...string)) {
	for _, golden := range goldens {
		snapshots, err := c.plane.ListSnapshots(ctx, golden.Name)
		if err == nil && len(snapshots) > 0 {
			gauge(c.age, c.now().Sub(snapshots[0].Created).Seconds(), golden.Name)
		}
	}
}

// collectClones reports every state of every golden, so that no series vanishes
// when its last clone does.
func (c *planeCollector) collectClones(ctx context.Context, goldens []state.Golden, gauge func(*prometheus.Desc, float64, ...string)) {
	clones, _, err := c.plane.ListClones(ctx, control.CloneFilter{}, 0, "")
	if err != nil {
		c.log.Error("listing clones for metrics", "error", err)
		return
	}
	type key struct {
		golden string
		state  state.CloneState
	}
	count := map[key]int{}
	for _, golden := range goldens {
		for _, s := range cloneStates() {
			count[key{golden.Name, s}] = 0
		}
	}
	for _, clone := range clones {
		count[key{clone.Golden, clone.State}]++
	}
	for k, n := range count {
		gauge(c.clones, float64(n), k.golden, string(k.state))
	}
}

// sampleEvery is the least time between two samples of the clones' usage.
const sampleEvery = time.Minute

// sample measures the usage of all clones now and then, until ctx ends: asking
// for each of hundreds is too much for a scrape. It rests for at least nine
// times as long as it worked.
func (c *planeCollector) sample(ctx context.Context) {
	for {
		begin := c.now()
		c.sampleOnce(ctx)
		rest := time.NewTimer(max(sampleEvery, 9*c.now().Sub(begin)))
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return
		}
	}
}

func (c *planeCollector) sampleOnce(ctx context.Context) {
	clones, _, err := c.plane.ListClones(ctx, control.CloneFilter{}, 0, "")
	if err != nil {
		c.log.WarnContext(ctx, "measuring the clones' usage", "error", err)
		return
	}
	total := int64(0)
	for _, clone := range clones {
		usage, err := c.plane.Usage(ctx, clone.Name)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !errs.Is(err, errs.NotFound) { // deleted meanwhile
			c.log.WarnContext(ctx, "measuring a clone's usage", "clone", clone.Name, "error", err)
			return
		}
		total += usage.Unique
	}
	c.usage.Store(total)
}
