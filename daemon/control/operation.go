package control

import (
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// operation is what a request of this process has asked of a clone's owner, for
// timings, metrics and logs. Nothing is decided by it.
type operation struct {
	name    string
	request string
	started time.Time
	timings []state.Timing
}

// begin notes that an operation on the clone starts. It replaces another one,
// but joins its like.
func (p *Plane) begin(id string, op *operation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if have := p.operations[id]; have == nil || have.name != op.name {
		p.operations[id] = op
	}
}

// drop forgets the operation on the clone, of which nothing came.
func (p *Plane) drop(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.operations, id)
}

// lap notes that a phase of the operation is over, whoever asked for it.
func (p *Plane) lap(id, phase string, began time.Time, err error) {
	took := p.now().Sub(began)
	p.mu.Lock()
	op := p.operations[id]
	name := OpRestart
	if op != nil {
		op.timings = append(op.timings, state.Timing{Phase: phase, Took: took})
		name = op.name
	}
	p.mu.Unlock()
	p.metrics.Phase(name, phase, result(err), took)
}

// timings returns those of the operation on the clone, if there is one.
func (p *Plane) timings(id string) []state.Timing {
	p.mu.Lock()
	defer p.mu.Unlock()
	if op := p.operations[id]; op != nil {
		return append([]state.Timing(nil), op.timings...)
	}
	return nil
}

// finish notes the outcome of the operation on the clone and logs it.
func (p *Plane) finish(c state.Clone, event string, err error) {
	p.mu.Lock()
	op := p.operations[c.ID]
	delete(p.operations, c.ID)
	p.mu.Unlock()
	args := []any{"clone", c.Name, "id", c.ID, "golden", c.Golden, "generation", c.Generation}
	if op != nil {
		took := p.now().Sub(op.started)
		p.metrics.Operation(op.name, result(err), took)
		args = append(args, "operation", op.name, "request", op.request, "took", took)
	}
	if err != nil {
		e := errs.As(err)
		p.log.Warn(event, append(args, "phase", e.Phase, "reason", e.Reason, "error", err, "log", e.Log)...)
		return
	}
	p.log.Info(event, args...)
}

// requestOf is the ID of the request that asked for the operation, for logs.
func (p *Plane) requestOf(id string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if op := p.operations[id]; op != nil {
		return op.request
	}
	return ""
}

// result is the metrics label of an outcome.
func result(err error) string {
	if err == nil {
		return ResultOK
	}
	return errs.KindOf(err).String()
}

// inPhase says in which phase an error happened, unless it says so itself. The
// error may be shared, so it is copied.
func inPhase(phase string, err error) *errs.Error {
	e := *errs.As(err)
	if e.Phase == "" {
		e.Phase = phase
	}
	return &e
}
