package control

import (
	"context"

	"github.com/cloned-db/cloned/state"
)

// Caller is on whose behalf a request is made.
type Caller struct {
	// Principal is the name that the clones it makes bear.
	Principal string
	// All: it sees every clone, not only its own.
	All bool
	// Change: it may change every clone that it sees, not only its own, and goldens.
	Change bool
	// Goldens are those that it may use; empty for all.
	Goldens []string
	Limits  Limits
}

// Limits bound what a principal may have at one time.
type Limits = state.Limits

type callerKey struct{}

// WithCaller returns a context of a request on the caller's behalf.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// caller returns whose request it is. What has none is the daemon's own work.
func caller(ctx context.Context) Caller {
	if c, ok := ctx.Value(callerKey{}).(Caller); ok {
		return c
	}
	return Caller{All: true, Change: true}
}
