package control

import (
	"context"
	"io"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// GetClone returns the clone of the name; errs.NotFound if there is none.
func (p *Plane) GetClone(ctx context.Context, name string) (state.Clone, error) {
	return caller(ctx).clone(p.store.View(), name)
}

// ListClones returns clones by name, at most pageSize (0: all), and the token
// of the next page, empty after the last.
func (p *Plane) ListClones(ctx context.Context, f CloneFilter, pageSize int, pageToken string) (clones []state.Clone, next string, err error) {
	if pageSize < 0 {
		return nil, "", errs.Fieldf("page_size", "%d must not be negative", pageSize)
	}
	// A token is the last name of the page before: pages stay whole when clones
	// come and go between them.
	for c := range caller(ctx).byName(p.store.View(), pageToken) {
		if !f.matches(c) {
			continue
		}
		if pageSize > 0 && len(clones) == pageSize {
			return clones, clones[pageSize-1].Name, nil
		}
		clones = append(clones, c)
	}
	return clones, "", nil
}

func (f CloneFilter) empty() bool {
	return f.Golden == "" && f.Branch == "" && f.Owner == "" && f.State == "" && len(f.Labels) == 0
}

func (f CloneFilter) matches(c state.Clone) bool {
	for key, value := range f.Labels {
		if have, ok := c.Labels[key]; !ok || have != value {
			return false
		}
	}
	return (f.Golden == "" || f.Golden == c.Golden) && (f.Branch == "" || f.Branch == c.Branch) &&
		(f.Owner == "" || f.Owner == c.Owner) && (f.State == "" || f.State == c.State)
}

// Logs writes the log of the clone's database; arguments as container.Runtime.Logs.
func (p *Plane) Logs(ctx context.Context, name string, tail int, follow bool, w io.Writer) error {
	c, err := p.GetClone(ctx, name)
	if err != nil {
		return err
	}
	g := c.Generation
	if g == 0 {
		g = c.Next
	}
	err = p.cfg.Runtime.Logs(ctx, cloneName(c.ID, g), tail, follow, w)
	if errs.Is(err, errs.NotFound) {
		return errs.New(errs.Precondition, "NO_INSTANCE", "clone %s is %s and has no instance, hence no log", name, c.State)
	}
	return err
}

// Usage says what a clone's volume takes.
func (p *Plane) Usage(ctx context.Context, name string) (storage.Usage, error) {
	c, err := p.GetClone(ctx, name)
	if err != nil {
		return storage.Usage{}, err
	}
	if c.Generation == 0 {
		return storage.Usage{}, nil
	}
	return p.cfg.Driver.Usage(ctx, cloneName(c.ID, c.Generation))
}
