package control

import (
	"context"

	"github.com/cloned-db/cloned/errs"
)

// Adopt rebuilds what can be rebuilt from what is observed into an empty store.
func (p *Plane) Adopt(ctx context.Context) (report []string, err error) {
	return nil, errs.New(errs.Unavailable, "NOT_YET", "not there yet")
}
