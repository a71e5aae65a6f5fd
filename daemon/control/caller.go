package control

import (
	"context"
	"iter"
	"slices"

	"github.com/cloned-db/cloned/errs"
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

	// daemon: it is the daemon itself.
	daemon bool
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
	return Caller{All: true, Change: true, daemon: true}
}

// What a request names is looked up by these methods only, so that what is not
// there for its caller is as good as not there.

// uses says whether the caller may use a golden.
func (c Caller) uses(golden string) bool {
	return len(c.Goldens) == 0 || slices.Contains(c.Goldens, golden)
}

// made says whether the caller made a clone. One without a principal was made by
// nobody.
func (c Caller) made(clone state.Clone) bool {
	return clone.Principal != "" && clone.Principal == c.Principal
}

// sees says whether a clone is there for the caller.
func (c Caller) sees(clone state.Clone) bool {
	return c.uses(clone.Golden) && (c.All || c.made(clone))
}

// changes says whether the caller may change a clone that it sees.
func (c Caller) changes(clone state.Clone) bool { return c.Change || c.made(clone) }

// seesSnapshot says whether a snapshot is there for the caller: one of a clone if
// the clone is.
func (c Caller) seesSnapshot(v *state.View, s state.Snapshot) bool {
	if s.Clone == "" || c.All {
		return c.uses(s.Golden)
	}
	of, ok := v.Clone(s.Clone)
	return ok && c.sees(of)
}

// reveals says whether the caller is given a clone's credentials: who made it is,
// and nobody else, but that those of a clone that nobody made are given to whoever
// may change it.
func (c Caller) reveals(clone state.Clone) bool {
	switch {
	case c.daemon:
		return true
	case c.All && !c.Change: // it only looks
		return false
	case clone.Principal == "":
		return c.Change
	}
	return c.made(clone)
}

// golden returns the golden of the name, if it is published.
func (c Caller) golden(v *state.View, name string) (state.Golden, error) {
	g, ok := v.Golden(name)
	if !ok || !g.Published || !c.uses(name) {
		return g, errGolden(name)
	}
	return g, nil
}

// clone returns the clone of the name.
func (c Caller) clone(v *state.View, name string) (state.Clone, error) {
	clone, ok := v.CloneNamed(name)
	if !ok || !c.sees(clone) {
		return state.Clone{}, errClone(name)
	}
	return clone, nil
}

// toChange is clone for one that the caller is about to change.
func (c Caller) toChange(v *state.View, name string) (state.Clone, error) {
	clone, err := c.clone(v, name)
	if err == nil && !c.changes(clone) {
		return clone, errs.New(errs.Denied, "NOT_YOURS", "clone %s is not yours", name).
			WithHint("ask who made it, or an operator")
	}
	return clone, err
}

// byName yields the clones that are there for the caller, by name, starting after
// the given one.
func (c Caller) byName(v *state.View, after string) iter.Seq[state.Clone] {
	return func(yield func(state.Clone) bool) {
		for clone := range v.ClonesByName(after) {
			if c.sees(clone) && !yield(clone) {
				return
			}
		}
	}
}
