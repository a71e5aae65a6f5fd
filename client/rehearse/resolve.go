package rehearse

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// resolver looks up the names of relations that were not there at the start. It
// has a goroutine of its own, so that sampling does not wait for sessions in
// other databases, and asks at once, while a transaction that makes a relation
// is still likely to be the only one that sees it.
type resolver struct {
	server *server
	learn  func(in place, asked []uint32, found map[uint32]relation)
	// wake has room for one: there is something in todo.
	wake chan struct{}
	done chan struct{}

	mu   sync.Mutex
	todo map[place][]uint32
}

// lookupTime bounds one look-up. The database may be just about to be dropped.
const lookupTime = 2 * time.Second

// newResolver starts a resolver, to be ended with finish.
func newResolver(ctx context.Context, s *server, t *tracker) *resolver {
	r := &resolver{server: s, learn: t.learn, wake: make(chan struct{}, 1), done: make(chan struct{}), todo: map[place][]uint32{}}
	go func() {
		defer close(r.done)
		for range r.wake {
			r.work(ctx)
		}
	}()
	return r
}

// finish waits for what was asked for. Nothing may be asked from then on.
func (r *resolver) finish() {
	close(r.wake)
	<-r.done
}

// ask asks for names, which the tracker learns later, or never.
func (r *resolver) ask(nameless map[place][]uint32) {
	if len(nameless) == 0 {
		return
	}
	r.mu.Lock()
	for in, oids := range nameless {
		r.todo[in] = append(r.todo[in], oids...)
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// work looks up everything that was asked for.
func (r *resolver) work(ctx context.Context) {
	r.mu.Lock()
	todo := r.todo
	r.todo = map[place][]uint32{}
	r.mu.Unlock()
	for in, oids := range todo {
		db := database{}
		ctx, cancel := context.WithTimeout(ctx, lookupTime)
		err := r.server.in(ctx, in.name, func(conn *pgx.Conn) error { return db.names(ctx, conn, oids) })
		cancel()
		if err == nil {
			r.learn(in, oids, db.rels)
		}
		// Without an answer the lock keeps its OID for a name, unless the reading
		// of the catalogs at the end has one.
	}
}
