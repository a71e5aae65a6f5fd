package daemon

import (
	"errors"
	"path/filepath"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/cloned-db/cloned/daemon/control"
)

// Metrics is what the daemon counts and times as it happens. It is the
// control.Metrics of the plane and the command.Observer of the drivers. What is
// read off at each scrape is in planeCollector. docs/metrics.md lists all.
type Metrics struct {
	operations    *prometheus.HistogramVec
	phases        *prometheus.HistogramVec
	actions       *prometheus.CounterVec
	restarts      *prometheus.CounterVec
	reconciles    *prometheus.HistogramVec
	lastReconcile prometheus.Gauge
	orphans       prometheus.Gauge
	orphanAlarm   prometheus.Gauge
	commands      *prometheus.HistogramVec
	certExpires   prometheus.Gauge
}

var _ control.Metrics = (*Metrics)(nil)

// operationBuckets reach from a warm create to the refresh of a large golden.
func operationBuckets() []float64 {
	return []float64{.01, .025, .05, .1, .15, .2, .3, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200}
}

// commandBuckets reach from a snapshot to a command that hangs.
func commandBuckets() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30}
}

// newMetrics registers the daemon's metrics, and those of Go and the process.
func newMetrics(reg prometheus.Registerer, version string) (*Metrics, error) {
	m := &Metrics{
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cloned_operation_duration_seconds", Buckets: operationBuckets(),
			Help: "How long operations on clones and goldens took, by operation and result.",
		}, []string{"operation", "result"}),
		phases: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cloned_operation_phase_duration_seconds", Buckets: operationBuckets(),
			Help: "How long each phase of an operation took, by operation, phase and result.",
		}, []string{"operation", "phase", "result"}),
		actions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cloned_reconcile_actions_total",
			Help: "Steps taken to make what is observed like what is wanted, by action and result.",
		}, []string{"action", "result"}),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cloned_clone_restarts_total",
			Help: "Times that a clone's database ended by itself, by golden and cause (crash or oom).",
		}, []string{"golden", "cause"}),
		reconciles: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cloned_reconcile_duration_seconds", Buckets: commandBuckets(),
			Help: "How long reconciliation passes took, by result.",
		}, []string{"result"}),
		lastReconcile: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cloned_reconcile_last_success_timestamp_seconds",
			Help: "When a reconciliation pass last succeeded; 0 if none has yet.",
		}),
		orphans: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cloned_orphans",
			Help: "Volumes and instances that bear this installation's mark and have no record.",
		}),
		orphanAlarm: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cloned_orphan_alarm",
			Help: "1 while there are too many orphans for them to be swept without an operator.",
		}),
		commands: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cloned_command_duration_seconds", Buckets: commandBuckets(),
			Help: "How long outside commands and system calls of the storage drivers took, by tool, verb and result.",
		}, []string{"tool", "verb", "result"}),
		certExpires: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cloned_tls_certificate_expires_timestamp_seconds",
			Help: "Until when the daemon's certificate is good, the one that new connections get; 0 without TLS.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "cloned_build_info",
		Help:        "Always 1; its labels say what is running.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	return m, registerAll(reg, m.operations, m.phases, m.actions, m.restarts, m.reconciles, m.lastReconcile,
		m.orphans, m.orphanAlarm, m.commands, m.certExpires, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

func registerAll(reg prometheus.Registerer, list ...prometheus.Collector) error {
	var err error
	for _, c := range list {
		err = errors.Join(err, reg.Register(c))
	}
	return err
}

// Phase implements control.Metrics.
func (m *Metrics) Phase(op, phase, result string, took time.Duration) {
	m.phases.WithLabelValues(op, phase, result).Observe(took.Seconds())
}

// Operation implements control.Metrics.
func (m *Metrics) Operation(op, result string, took time.Duration) {
	m.operations.WithLabelValues(op, result).Observe(took.Seconds())
}

// Action implements control.Metrics.
func (m *Metrics) Action(kind, result string) {
	m.actions.WithLabelValues(kind, result).Inc()
}

// Restart implements control.Metrics.
func (m *Metrics) Restart(golden string, oom bool) {
	cause := "crash"
	if oom {
		cause = "oom"
	}
	m.restarts.WithLabelValues(golden, cause).Inc()
}

// Reconcile implements control.Metrics.
func (m *Metrics) Reconcile(result string, took time.Duration) {
	m.reconciles.WithLabelValues(result).Observe(took.Seconds())
	if result == control.ResultOK {
		m.lastReconcile.SetToCurrentTime()
	}
}

// Certificate notes until when the daemon's certificate is good.
func (m *Metrics) Certificate(until time.Time) { m.certExpires.Set(float64(until.Unix())) }

// Orphans implements control.Metrics.
func (m *Metrics) Orphans(n int, alarm bool) {
	m.orphans.Set(float64(n))
	m.orphanAlarm.Set(0)
	if alarm {
		m.orphanAlarm.Set(1)
	}
}

// Command is a command.Observer.
func (m *Metrics) Command(tool, verb string, took time.Duration, err error) {
	result := control.ResultOK
	if err != nil {
		result = "error"
	}
	m.commands.WithLabelValues(filepath.Base(tool), verb, result).Observe(took.Seconds())
}
