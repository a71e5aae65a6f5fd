package docker_test

import (
	"fmt"
	"strings"
	"testing"

	api "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"github.com/cloned-db/cloned/container"
)

// BenchmarkStart compares Start with the bare calls of the Engine's API that it
// makes, on containers with the same settings.
func BenchmarkStart(b *testing.B) {
	needImage(b)
	rt, err := opener("bench1")()
	if err != nil {
		b.Fatal(err)
	}
	defer rt.Close()
	if err := rt.Setup(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := rt.Teardown(b.Context()); err != nil {
			b.Error(err)
		}
	}()
	bare, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		b.Fatal(err)
	}
	defer bare.Close()
	n := 0
	next := func() container.Spec {
		n++
		return container.Spec{
			ID: fmt.Sprintf("c-%d", n), Image: image, Argv: []string{"sleep", "1000"}, User: rt.DefaultUser(),
			Volume: b.TempDir(), PublishAddr: "127.0.0.1", PublishPort: 28000 + n%1000, Port: 5432,
		}
	}
	timed := func(b *testing.B, spec container.Spec, start func() error) {
		b.StartTimer()
		err := start()
		b.StopTimer()
		if err == nil {
			err = rt.Remove(b.Context(), spec.ID)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	// What Start makes is the template for the bare calls.
	template := next()
	if err := rt.Start(b.Context(), template); err != nil {
		b.Fatal(err)
	}
	made, err := bare.ContainerInspect(b.Context(), "cloned-bench1-"+template.ID)
	if err != nil {
		b.Fatal(err)
	}
	if err := rt.Remove(b.Context(), template.ID); err != nil {
		b.Fatal(err)
	}
	made.Config.Hostname = ""
	// In turn, so that what else the machine does falls on both.
	for turn := range 3 {
		b.Run(fmt.Sprintf("runtime/%d", turn), func(b *testing.B) {
			b.StopTimer()
			for range b.N {
				spec := next()
				timed(b, spec, func() error { return rt.Start(b.Context(), spec) })
			}
		})
		b.Run(fmt.Sprintf("bare/%d", turn), func(b *testing.B) {
			b.StopTimer()
			for range b.N {
				spec := next()
				made.Config.Labels["io.cloned.id"] = spec.ID
				for port := range made.HostConfig.PortBindings {
					made.HostConfig.PortBindings[port][0].HostPort = fmt.Sprint(spec.PublishPort)
				}
				timed(b, spec, func() error {
					created, err := bare.ContainerCreate(b.Context(), made.Config, made.HostConfig, nil, nil, strings.TrimSuffix(made.Name, template.ID)[1:]+spec.ID)
					if err != nil {
						return err
					}
					return bare.ContainerStart(b.Context(), created.ID, api.StartOptions{})
				})
			}
		})
	}
}
