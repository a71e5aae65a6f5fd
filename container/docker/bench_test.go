package docker_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

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
	startBare := func(spec container.Spec) error {
		made.Config.Labels["io.cloned.id"] = spec.ID
		for port := range made.HostConfig.PortBindings {
			made.HostConfig.PortBindings[port][0].HostPort = fmt.Sprint(spec.PublishPort)
		}
		created, err := bare.ContainerCreate(b.Context(), made.Config, made.HostConfig, nil, nil, "cloned-bench1-"+spec.ID)
		if err != nil {
			return err
		}
		return bare.ContainerStart(b.Context(), created.ID, api.StartOptions{})
	}
	timed := func(start func(container.Spec) error) time.Duration {
		spec := next()
		begin := time.Now()
		err := start(spec)
		took := time.Since(begin)
		if err = errors.Join(err, rt.Remove(b.Context(), spec.ID)); err != nil {
			b.Fatal(err)
		}
		return took
	}
	// In turn, so that what else the machine does falls on both.
	var ours, floor []time.Duration
	for b.Loop() {
		ours = append(ours, timed(func(spec container.Spec) error { return rt.Start(b.Context(), spec) }))
		floor = append(floor, timed(startBare))
	}
	b.ReportMetric(float64(median(ours).Microseconds())/1000, "runtime-ms")
	b.ReportMetric(float64(median(floor).Microseconds())/1000, "bare-ms")
	b.ReportMetric(float64(median(ours))/float64(median(floor)), "ratio")
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
