package control

import (
	"context"
	"io"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// Plane is the control plane. Its methods may be called at the same time.
type Plane struct{ cfg Config }

var errNotYet = errs.New(errs.Unavailable, "NOT_YET", "not there yet")

// New checks the configuration and makes a Plane; it touches nothing outside.
func New(cfg Config) (*Plane, error) { return &Plane{cfg: cfg}, nil }

// Run makes a first reconciliation pass and then keeps what is observed like
// what is wanted, until ctx ends; it returns when its goroutines have ended.
// Requests may be served before the first pass is over.
func (p *Plane) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// CreateClone makes a clone, or returns the one that the same request made.
func (p *Plane) CreateClone(ctx context.Context, req CreateRequest) (c state.Clone, created bool, err error) {
	return state.Clone{}, false, errNotYet
}

// GetClone returns the clone of the name; errs.NotFound if there is none.
func (p *Plane) GetClone(name string) (state.Clone, error) { return state.Clone{}, errNotYet }

// ListClones returns clones by name, at most pageSize (0: all), and the token
// of the next page, empty after the last.
func (p *Plane) ListClones(f CloneFilter, pageSize int, pageToken string) (clones []state.Clone, next string, err error) {
	return nil, "", errNotYet
}

// UpdateClone changes attributes of a clone.
func (p *Plane) UpdateClone(ctx context.Context, name string, u CloneUpdate) (state.Clone, error) {
	return state.Clone{}, errNotYet
}

// ResetClone puts a clone back to a snapshot of its golden.
func (p *Plane) ResetClone(ctx context.Context, req ResetRequest) (state.Clone, error) {
	return state.Clone{}, errNotYet
}

// SuspendClone stops a clone's instance and keeps its volume.
func (p *Plane) SuspendClone(ctx context.Context, name string) (state.Clone, error) {
	return state.Clone{}, errNotYet
}

// ResumeClone starts a suspended clone again; with newPort on another port if
// something took its own.
func (p *Plane) ResumeClone(ctx context.Context, name string, newPort bool) (state.Clone, error) {
	return state.Clone{}, errNotYet
}

// DeleteClone deletes a clone; with wait it returns when its parts are gone.
func (p *Plane) DeleteClone(ctx context.Context, name string, wait bool) error { return errNotYet }

// DeleteClones deletes the clones that the filter selects; an empty one is
// errs.Invalid. Protected ones are skipped.
func (p *Plane) DeleteClones(ctx context.Context, f CloneFilter) (deleted, skipped []string, err error) {
	return nil, nil, errNotYet
}

// Logs writes the clone's database log; arguments as container.Runtime.Logs.
func (p *Plane) Logs(ctx context.Context, name string, tail int, follow bool, w io.Writer) error {
	return errNotYet
}

// Watch reports changes of clones after the revision from; from 0 first a put
// of each clone present. The func says why the channel was closed.
func (p *Plane) Watch(ctx context.Context, from uint64, f CloneFilter) (<-chan Event, func() error, error) {
	return nil, nil, errNotYet
}

// Endpoint says how a user reaches the clone.
func (p *Plane) Endpoint(c state.Clone) Endpoint { return Endpoint{} }

// Usage says what a clone's volume takes.
func (p *Plane) Usage(ctx context.Context, name string) (storage.Usage, error) {
	return storage.Usage{}, errNotYet
}

// CreateGolden makes a golden and its first snapshot.
func (p *Plane) CreateGolden(ctx context.Context, req CreateGoldenRequest, progress func(Progress)) (state.Golden, state.Snapshot, error) {
	return state.Golden{}, state.Snapshot{}, errNotYet
}

// RefreshGolden publishes a new snapshot of the golden's source.
func (p *Plane) RefreshGolden(ctx context.Context, name string, progress func(Progress)) (state.Snapshot, error) {
	return state.Snapshot{}, errNotYet
}

// GetGolden returns a golden and its snapshots, newest first.
func (p *Plane) GetGolden(name string) (state.Golden, []state.Snapshot, error) {
	return state.Golden{}, nil, errNotYet
}

// ListGoldens returns the goldens by name.
func (p *Plane) ListGoldens() []state.Golden { return nil }

// DeleteGolden deletes a golden without clones.
func (p *Plane) DeleteGolden(ctx context.Context, name string) error { return errNotYet }

// ListSnapshots returns a golden's snapshots, newest first; all for "".
func (p *Plane) ListSnapshots(golden string) ([]state.Snapshot, error) { return nil, errNotYet }

// DeleteSnapshot hides a snapshot and collects it when nothing descends from it.
func (p *Plane) DeleteSnapshot(ctx context.Context, id string) error { return errNotYet }

// SnapshotUsage says what a snapshot's volume takes.
func (p *Plane) SnapshotUsage(ctx context.Context, id string) (storage.Usage, error) {
	return storage.Usage{}, errNotYet
}

// Status says how the host is.
func (p *Plane) Status(ctx context.Context) Status { return Status{} }

// Adopt rebuilds what can be rebuilt from what is observed into an empty store.
func (p *Plane) Adopt(ctx context.Context) (report []string, err error) { return nil, errNotYet }
