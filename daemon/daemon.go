package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/daemon/audit"
	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/command"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// Options of Open, besides the configuration.
type Options struct {
	Version string
	Log     *slog.Logger
	// Adopt makes new records, of what can be found again, if there are none
	// although volumes of this installation exist.
	Adopt bool
	// Fault is control.Config.Fault: tests fail the daemon's outside steps with
	// it, or end the daemon there.
	Fault func(point string) error
}

// Daemon is an open daemon. Clones belong to the host, not to it: they run on
// after it has ended.
type Daemon struct {
	cfg       Config
	log       *slog.Logger
	inst      *Installation
	metrics   *Metrics
	driver    storage.Driver
	runtime   container.Runtime
	store     *state.Store
	audit     *audit.Log
	plane     *control.Plane
	collector *planeCollector
	server    *server
	listeners []net.Listener
	http      *http.Server
	httpOn    net.Listener  // nil if there are no metrics to serve
	certs     *certificates // nil without TLS
	oidc      *auth.OIDC

	// closers undo Open, in reverse order.
	closers []func() error
}

// Open takes hold of the state directory, opens drivers and records, and
// listens; it serves nobody yet. When it fails it leaves nothing open.
func Open(ctx context.Context, cfg Config, o Options) (_ *Daemon, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	d := &Daemon{cfg: cfg, log: o.Log}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	reg := prometheus.NewRegistry()
	steps := []func() error{
		func() (err error) { d.metrics, err = newMetrics(reg, o.Version); return err },
		d.openTrust,
		d.openInstallation,
		func() error { return d.openDrivers(ctx) },
		d.openAudit,
		func() error { return d.openRecords(ctx, o) },
		func() (err error) { d.plane, err = d.newPlane(ctx, d.store, o); return err },
		func() error { return d.openMetrics(ctx, reg) },
		func() error { return d.openAPI(ctx) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// openTrust reads the files by which others are known.
func (d *Daemon) openTrust() (err error) {
	if d.cfg.TLS.Cert != "" {
		if d.certs, err = openCertificates(d.cfg.TLS, d.log, d.metrics.Certificate); err != nil {
			return err
		}
	}
	d.oidc, err = d.cfg.openOIDC()
	return err
}

func (d *Daemon) openInstallation() (err error) {
	unlock, err := lockStateDir(d.cfg.StateDir)
	if err != nil {
		return err
	}
	d.closers = append(d.closers, unlock)
	d.inst, err = openInstallation(d.cfg.StateDir)
	return err
}

func (d *Daemon) openAudit() (err error) {
	keep := d.cfg.Audit
	d.audit, err = audit.Open(filepath.Join(d.cfg.StateDir, dirAudit), int64(keep.MaxSize), keep.Files)
	if err == nil {
		d.closers = append(d.closers, d.audit.Close)
	}
	return err
}

func (d *Daemon) openDrivers(ctx context.Context) (err error) {
	// Read before anything else is touched, so that damaged records are found first.
	inUse, err := hasRecords(d.cfg.StateDir)
	if err != nil {
		return err
	}
	w := wiring{cfg: d.cfg, inst: d.inst, run: &command.Runner{Observe: d.metrics.Command}, inUse: inUse}
	var driver, runtime Choice
	d.driver, driver, err = choose(ctx, "storage driver", d.cfg.Storage.Driver, d.inst.Storage, w.drivers(),
		func(is Choice) error { return unchanged("storage driver", d.inst.Storage, is, inUse) })
	if err != nil {
		return err
	}
	d.runtime, runtime, err = choose(ctx, "container runtime", d.cfg.Runtime.Name, d.inst.Runtime, w.runtimes(),
		func(is Choice) error { return unchanged("container runtime", d.inst.Runtime, is, inUse) })
	if err != nil {
		return err
	}
	d.closers = append(d.closers, d.runtime.Close)
	d.log.InfoContext(ctx, "storage driver", "name", driver.Name, "reason", driver.Reason, "place", driver.Place, "thin", d.driver.Capabilities().Thin)
	d.log.InfoContext(ctx, "container runtime", "name", runtime.Name, "reason", runtime.Reason)
	if d.inst.Storage == driver && d.inst.Runtime == runtime {
		return nil
	}
	// Remembered, so that a later start doesn't choose otherwise because, say,
	// Docker is down just then.
	d.inst.Storage, d.inst.Runtime = driver, runtime
	return d.inst.save()
}

// unchanged refuses another driver, runtime or place than before while there are
// goldens or clones, which are where it was.
func unchanged(what string, was, is Choice, inUse bool) error {
	if !inUse || was.Name == "" || was.Name == is.Name && was.Place == is.Place {
		return nil
	}
	return errs.New(errs.Precondition, "DRIVER_CHANGED", "the %s was %q at %q and is to be %q at %q, while there are goldens or clones on the former",
		what, was.Name, was.Place, is.Name, is.Place).
		WithHint("configure the former again and delete them first, or give the latter a state_dir of its own")
}

func (d *Daemon) newPlane(ctx context.Context, store *state.Store, o Options) (*control.Plane, error) {
	space, err := d.driver.Space(ctx)
	if err != nil {
		return nil, err
	}
	clones := d.cfg.Clones
	if clones.Max == 0 {
		clones.Max = clones.Ports.Last - clones.Ports.First + 1
	}
	return control.New(control.Config{
		Store: store, Driver: d.driver, Runtime: d.runtime, Engines: engines(), Expired: auditExpiry(d.audit),
		Log: d.log, Metrics: d.metrics, Instance: d.inst.Instance, Version: o.Version,
		DriverReason: d.inst.Storage.Reason, RuntimeReason: d.inst.Runtime.Reason,
		Addr: clones.Address, PortFirst: clones.Ports.First, PortLast: clones.Ports.Last,
		MaxClones: clones.Max, MemoryBytes: int64(d.cfg.Limits.Memory), CloneMemoryBytes: int64(clones.Memory), GoldenLimits: d.cfg.Limits.goldens(),
		FloorBytes: clones.FreeFloor.Of(space.Total),
		DefaultTTL: time.Duration(clones.DefaultTTL), MaxTTL: time.Duration(clones.MaxTTL),
		KeepFor: time.Duration(d.cfg.Undo.For), KeepBytes: d.cfg.Undo.Space.Of(space.Total), KeepExpired: d.cfg.Undo.Expired,
		Key: d.inst.Key, ReconcileEvery: time.Duration(d.cfg.ReconcileInterval),
		Fault: o.Fault,
	})
}

func (d *Daemon) openMetrics(ctx context.Context, reg *prometheus.Registry) (err error) {
	d.collector = newPlaneCollector(d.plane, d.log)
	if err := reg.Register(d.collector); err != nil {
		return err
	}
	d.http = newHTTP(reg, d.log, d.ready)
	if d.cfg.MetricsListen == "" {
		return nil
	}
	if d.httpOn, err = listenMetrics(ctx, d.cfg.MetricsListen, d.certs); err != nil {
		return err
	}
	d.closers = append(d.closers, ignoreClosed(d.httpOn.Close))
	return nil
}

func (d *Daemon) openAPI(ctx context.Context) error {
	local, rights, err := d.cfg.local()
	if err != nil {
		return err
	}
	tokens := auth.NewTokens(d.store)
	who := &auth.Authenticator{Local: local, Tokens: tokens, Certificates: d.cfg.Access.Certs}
	if len(d.cfg.OIDC) > 0 {
		who.OIDC = d.oidc
	}
	var transport auth.Transport
	if d.certs != nil {
		transport.TLS = d.certs.config()
	}
	if d.server, err = newServer(d.log, gate{who, newLimits(d.cfg.Limits), d.audit}, transport, alive); err != nil {
		return err
	}
	d.server.register(d.plane, d.checkHealth, tokens, d.log)
	d.listeners, err = listenAll(ctx, d.cfg.Listen, rights)
	for _, l := range d.listeners {
		d.closers = append(d.closers, ignoreClosed(l.Close))
	}
	d.log.InfoContext(ctx, "listening", "addresses", d.cfg.Listen, "socket", local.String())
	return err
}

// ignoreClosed is for listeners, which the servers close as well.
func ignoreClosed(closeIt func() error) func() error {
	return func() error {
		if err := closeIt(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// ready returns nil once the first reconciliation pass is over.
func (d *Daemon) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	if d.plane.Status(ctx).LastReconcile.IsZero() {
		return errs.New(errs.Unavailable, "STARTING", "the first reconciliation pass is not over")
	}
	return nil
}

func (d *Daemon) close() error {
	var err error
	for i := len(d.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, d.closers[i]())
	}
	d.closers = nil
	return err
}

// stopGrace is how long calls under way may take to finish when the daemon
// stops. A create takes less than a second; what takes longer is continued or
// undone by the next daemon.
const stopGrace = 10 * time.Second

// Serve serves until ctx ends, then stops: new calls are refused, streams end,
// calls under way get stopGrace to finish. It returns when everything that Open
// opened is closed; nil if ctx was the only reason.
func (d *Daemon) Serve(ctx context.Context) error {
	// The group's context ends with ctx or with the first part that fails; the
	// plane's ends last, for calls under way need it.
	group, ctx := errgroup.WithContext(ctx)
	planeCtx, stopPlane := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPlane()

	group.Go(func() error { return d.plane.Run(planeCtx) })
	for _, l := range d.listeners {
		group.Go(func() error { return d.server.serve(l) })
	}
	if d.httpOn != nil {
		group.Go(func() error { return serveHTTP(planeCtx, d.http, d.httpOn) })
	}
	group.Go(func() error { d.collector.sample(ctx); return nil })
	group.Go(func() error { return d.watchdog(ctx) })
	group.Go(func() error {
		<-ctx.Done()
		defer stopPlane()
		d.log.Info("stopping")
		stopErr := notify(stopping)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		d.server.shutdown(grace)
		return stopErr
	})
	err := notify(ready)
	d.log.InfoContext(ctx, "ready", "instance", d.inst.Instance, "state_dir", d.cfg.StateDir)
	err = errors.Join(err, group.Wait(), d.close())
	d.log.Info("stopped")
	return err
}

// storePath is where the records are.
func storePath(stateDir string) string { return filepath.Join(stateDir, fileStore) }
