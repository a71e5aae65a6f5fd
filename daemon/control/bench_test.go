package control_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
)

// BenchmarkCreate is what the control plane itself adds to a create, for its
// world takes no time.
func BenchmarkCreate(b *testing.B) {
	for _, there := range []int{0, 400} {
		b.Run(fmt.Sprint(there), func(b *testing.B) {
			r := newRig(b, func(c *control.Config) { c.ReconcileEvery = time.Hour })
			r.golden("shop")
			for i := range there {
				r.create(fmt.Sprint("c", i))
			}
			ctx := b.Context()
			for b.Loop() {
				if _, _, err := r.plane.CreateClone(ctx, control.CreateRequest{Name: "main", Golden: "shop", Wait: true}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := r.plane.DeleteClone(ctx, control.DeleteRequest{Name: "main", Wait: true}); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkPass is a pass over 500 clones that are as they should be.
func BenchmarkPass(b *testing.B) {
	r := newRig(b, func(c *control.Config) { c.ReconcileEvery, c.PortLast = time.Nanosecond, 23999 })
	r.golden("shop")
	for i := range 500 {
		r.create(fmt.Sprint("c", i))
	}
	for b.Loop() {
		r.rest()
	}
}
