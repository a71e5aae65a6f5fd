package control_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/storage"
)

// ailing is a driver whose pool is not well.
type ailing struct{ storage.Driver }

func (ailing) Health(context.Context) (string, error) { return "DEGRADED", nil }

// TestPoolHealth sees the state of the pool in the status.
func TestPoolHealth(t *testing.T) {
	r := newRig(t, func(c *control.Config) { c.Driver = ailing{c.Driver} })
	r.eventually("named", func() error {
		if slices.ContainsFunc(r.plane.Status(r.ctx()).Degraded, func(d string) bool { return strings.Contains(d, "DEGRADED") }) {
			return nil
		}
		return errInjected
	})
}
