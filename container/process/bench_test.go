package process_test

import (
	"fmt"
	"os/exec"
	"testing"

	"github.com/cloned-db/cloned/container/process"
	"github.com/cloned-db/cloned/internal/need"
)

// BenchmarkStart compares Start with a bare start of the same program.
func BenchmarkStart(b *testing.B) {
	need.Root(b)
	r, err := process.Open(process.Config{Dir: b.TempDir(), Instance: installation})
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	b.Run("runtime", func(b *testing.B) {
		b.StopTimer()
		for range b.N {
			n++
			spec := spec(r, fmt.Sprintf("c-%d", n), "exec sleep 1000")
			b.StartTimer()
			err := r.Start(b.Context(), spec)
			b.StopTimer()
			if err != nil {
				b.Fatal(err)
			}
			if err := r.Remove(b.Context(), spec.ID); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		b.StopTimer()
		for range b.N {
			cmd := exec.Command("/usr/bin/sh", "-c", "exec sleep 1000")
			b.StartTimer()
			err := cmd.Start()
			b.StopTimer()
			if err != nil {
				b.Fatal(err)
			}
			if err := cmd.Process.Kill(); err != nil {
				b.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				b.Fatal("a killed process succeeded")
			}
		}
	})
}
