package control

import (
	"context"
	"time"

	"github.com/cloned-db/cloned/state"
)

// aheadFor is how long a checkpoint that was begun ahead waits for its snapshot.
// What is written in that time is soon recovered.
const aheadFor = time.Second

// ahead is a checkpoint that was begun while the request for the snapshot that it
// is for was still being written down.
type ahead struct {
	cancel context.CancelFunc
	done   chan error // takes the one result
}

// checkpointAhead begins the checkpoint of a clone of which a snapshot is about to
// be asked for: it changes nothing that anybody sees, so it need not wait for the
// disk. The clone's owner finds it (cloneRun.checkpoint); if none comes, it is ended.
func (p *Plane) checkpointAhead(c state.Clone) {
	name := cloneName(c.ID, c.Generation)
	path, known := p.paths.Load(name)
	if !known || c.State != state.CloneReady || len(c.Taking) > 0 {
		return
	}
	ctx, cancel := context.WithCancel(p.ctx)
	a := &ahead{cancel, make(chan error, 1)}
	if _, begun := p.checkpoints.LoadOrStore(name, a); begun {
		cancel()
		return
	}
	p.owners.start(func() { a.done <- p.checkpoint(ctx, c, path.(string)) })
	time.AfterFunc(aheadFor, func() {
		if p.checkpoints.CompareAndDelete(name, a) {
			cancel()
		}
	})
}

// result is how the checkpoint ended. If ctx ends before, so does the checkpoint.
func (a *ahead) result(ctx context.Context) error {
	defer a.cancel()
	select {
	case err := <-a.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
