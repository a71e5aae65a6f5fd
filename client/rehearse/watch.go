package rehearse

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/errs"
)

// Watcher watches a server from Watch to Stop.
type Watcher struct {
	options  options
	server   *server
	sampler  *sampler
	resolver *resolver
	tracker  *tracker
	counters *counters
	before   catalog
	totals   totals
	report   Report

	// end ends the sampling, which closes ended.
	end   context.CancelFunc
	ended chan struct{}

	stop sync.Once
	err  error
}

// Watch reads the state of all databases of a server and begins to sample its
// locks. The configuration is that of a superuser, made by pgx.ParseConfig; it
// is not changed. The context bounds only the beginning: the watching goes on
// until Stop, which must be called.
//
// An error is of kind errs.Invalid if an option is out of range, errs.Denied if
// the user is no superuser, and errs.Unavailable if the server can't be read.
func Watch(ctx context.Context, cfg *pgx.ConnConfig, opts ...Option) (*Watcher, error) {
	o, err := newOptions(opts)
	if err != nil {
		return nil, err
	}
	w := &Watcher{options: o, server: newServer(cfg), ended: make(chan struct{})}
	home, err := w.server.home(ctx)
	if notAllowed(err) {
		return nil, errs.New(errs.Denied, "NOT_SUPERUSER", "the user %q is no superuser, and so can't see what others do: %w", cfg.User, err)
	}
	if err != nil {
		return nil, failed("connect to the server", err)
	}
	if err := w.prepare(ctx, home); err != nil {
		w.dismantle(home)
		return nil, err
	}
	return w, nil
}

// prepare does everything that can fail, then begins.
func (w *Watcher) prepare(ctx context.Context, home *pgx.Conn) error {
	w.report = Report{
		Command: w.options.command, Locks: []Lock{}, Statements: []Statement{}, Rewrites: []Rewrite{},
		Created: []Relation{}, Dropped: []Relation{}, Growth: []Growth{}, Log: []LogLine{},
	}
	var why string
	var err error
	if w.counters, why, err = openCounters(ctx, home); err != nil {
		return err
	}
	var seen *activity
	if w.counters == nil {
		seen = newActivity()
		w.report.StatementsSampled = true
		w.note("statements are sampled: " + why)
	}
	before, notes, err := w.server.readCatalog(ctx, home)
	if err != nil {
		return err
	}
	w.before = before
	w.note(notes...)
	if w.totals, err = readTotals(ctx, home); err != nil {
		return err
	}
	w.report.SizeBefore = w.totals.size

	loop, end := context.WithCancel(context.WithoutCancel(ctx))
	w.end = end
	w.tracker = newTracker(before.clone())
	w.resolver = newResolver(context.WithoutCancel(ctx), w.server, w.tracker)
	w.sampler = &sampler{
		server: w.server, interval: w.options.interval, tracker: w.tracker, resolver: w.resolver, activity: seen, conn: home,
	}
	if err := w.sampler.sample(ctx); err != nil {
		end()
		w.resolver.finish()
		return failed("read the server's locks", err)
	}
	w.report.Started = time.Now()
	go func() {
		defer close(w.ended)
		w.sampler.run(loop)
	}()
	return nil
}

// Stop ends the watching, reads the state of all databases again, and closes
// the watcher's sessions. Report.Took is the time from Watch to Stop; the
// command's exit code and error are for the caller to set.
//
// An error, of kind errs.Unavailable, means that the server can't be read any
// more: the report then has what was found out until then. Another call returns
// the same as the first.
func (w *Watcher) Stop(ctx context.Context) (Report, error) {
	w.stop.Do(func() { w.err = w.finish(ctx) })
	return w.report, w.err
}

func (w *Watcher) finish(ctx context.Context) error {
	r := &w.report
	r.Took = Duration{time.Since(r.Started)}
	w.end()
	<-w.ended
	sampleErr := w.sampler.sample(ctx)
	w.resolver.finish()
	var after catalog
	defer func() {
		w.tracker.locks(r, after)
		w.sampler.fill(r)
	}()
	home := w.sampler.conn
	defer func() { w.dismantle(home) }()
	if sampleErr != nil {
		return failed("read the server's locks", sampleErr)
	}
	end, err := readTotals(ctx, home)
	if err != nil {
		return err
	}
	r.WALBytes, r.SizeAfter = end.wal-w.totals.wal, end.size
	w.statements(ctx, home)
	w.log(ctx)
	found, notes, err := w.server.readCatalog(ctx, home)
	if err != nil {
		return err
	}
	after = found
	w.note(notes...)
	r.difference(w.before, after)
	return nil
}

func (w *Watcher) statements(ctx context.Context, home *pgx.Conn) {
	if w.sampler.activity != nil {
		w.report.Statements = w.sampler.activity.top()
		return
	}
	list, err := w.counters.top(ctx, home)
	if err != nil {
		w.note("statements: " + err.Error())
		return
	}
	w.report.Statements = append(w.report.Statements, list...)
}

func (w *Watcher) log(ctx context.Context) {
	if w.options.log == nil {
		return
	}
	lines, err := w.options.log(ctx)
	if err != nil {
		w.note("the server's log: " + err.Error())
	}
	w.report.Log = append(w.report.Log, ParseLog(lines)...)
}

func (w *Watcher) note(notes ...string) { w.report.Notes = append(w.report.Notes, notes...) }

// dismantle leaves nothing behind, whatever became of the context.
func (w *Watcher) dismantle(home *pgx.Conn) {
	if home == nil {
		return
	}
	if w.counters != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := w.counters.close(ctx, home); err != nil {
			w.note("the extension pg_stat_statements is still there: " + err.Error())
		}
	}
	hangUp(home)
}
