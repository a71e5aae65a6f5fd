package rehearse

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// locksSQL reads all locks on relations that are no system catalogs. A prepared
// transaction has no session. What a parallel worker locks, its leader has
// locked too.
const locksSQL = `SELECT l.virtualtransaction, l.database, l.relation, l.mode, l.granted,
	coalesce(a.datname::text, ''), CASE WHEN l.pid IS NULL THEN '(prepared transaction)' ELSE coalesce(a.query, '') END
	FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
	WHERE l.locktype = 'relation' AND l.relation >= 16384 AND l.database <> 0 AND (l.pid IS NULL OR
	a.application_name <> $1 AND a.backend_type NOT IN ('autovacuum launcher', 'autovacuum worker', 'parallel worker'))`

// sampler reads locks, and if asked the running statements, again and again.
type sampler struct {
	server   *server
	interval time.Duration
	tracker  *tracker
	resolver *resolver
	// activity is nil if the statements come from elsewhere.
	activity *activity
	// begin is what offsets are counted from.
	begin time.Time
	conn  *pgx.Conn

	prev    time.Time
	maxGap  time.Duration
	samples int
	failure error
}

// run samples until the context ends. A session that breaks is replaced: the
// command may end all sessions, or restart the server.
func (s *sampler) run(ctx context.Context) {
	tick := time.NewTicker(s.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			// The failure shows as a gap, and in the notes.
			if err := s.sample(ctx); err != nil && ctx.Err() == nil {
				s.failure = err
			}
		}
	}
}

// sampleTime bounds one sample, so that a server that hangs is noticed.
const sampleTime = 10 * time.Second

// sample takes one sample. It is finished even if the context ends meanwhile:
// to break it off would break the session.
func (s *sampler) sample(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sampleTime)
	defer cancel()
	if s.conn == nil || s.conn.IsClosed() {
		conn, err := s.server.home(ctx)
		if err != nil {
			return err
		}
		s.conn = conn
	}
	asked := time.Now()
	batch := &pgx.Batch{}
	var locks []seen
	batch.Queue(locksSQL, s.server.name).Query(func(rows pgx.Rows) (err error) {
		locks, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (l seen, err error) {
			err = row.Scan(&l.vxid, &l.database, &l.rel, &l.mode, &l.granted, &l.datname, &l.running)
			return l, err
		})
		return err
	})
	var running []active
	if s.activity != nil {
		batch.Queue(activitySQL, s.server.name).Query(func(rows pgx.Rows) (err error) {
			running, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (a active, err error) {
				err = row.Scan(&a.pid, &a.start, &a.datname, &a.text)
				return a, err
			})
			return err
		})
	}
	if err := s.conn.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	if !s.prev.IsZero() {
		s.maxGap = max(s.maxGap, time.Since(s.prev))
	}
	if s.begin.IsZero() {
		s.begin = asked
	}
	s.prev = asked
	s.samples++
	at := asked.Sub(s.begin)
	s.resolver.ask(s.tracker.sample(at, locks))
	if s.activity != nil {
		s.activity.sample(at, running)
	}
	return nil
}

// fill writes down how well it went.
func (s *sampler) fill(r *Report) {
	r.Sampling = Sampling{Interval: Duration{s.interval}, MaxGap: Duration{s.maxGap}, Samples: s.samples}
	if s.failure != nil {
		r.Notes = append(r.Notes, "locks: some samples failed, the last with: "+s.failure.Error())
	}
}
