package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/api/types"
	api "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// How long the Engine may take to answer. An Engine that hangs, or something
// between us and it that does, must not hold anybody for ever: what it was to do
// is tried again. Starting a container takes it a fraction of a second, and several
// on a machine that has much more to do than it can.
const (
	lookTimeout   = 30 * time.Second
	changeTimeout = time.Minute
	// startTimeout is longer: after a restart of the host all of them start at once.
	startTimeout = 3 * time.Minute
	// pullIdle is how long an image's pulling may say nothing: a large layer that
	// is being unpacked says nothing for a while.
	pullIdle = 10 * time.Minute
)

// errSilent is for an Engine that did not answer in time.
var errSilent = errors.New("no answer in time")

// engine is the Engine's API, of which each call comes to an end.
type engine struct{ *client.Client }

// within calls with an end. What is cut off by it, and not by ctx, is errSilent.
func within[T any](ctx context.Context, limit time.Duration, call func(context.Context) (T, error)) (T, error) {
	limited, cancel := context.WithTimeoutCause(ctx, limit, errSilent)
	defer cancel()
	got, err := call(limited)
	return got, silence(limited, err)
}

// silence returns errSilent for an error that came of it.
func silence(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errSilent) {
		return fmt.Errorf("%w (%w)", errSilent, err)
	}
	return err
}

// done is within for calls that return nothing.
func done(ctx context.Context, limit time.Duration, call func(context.Context) error) error {
	_, err := within(ctx, limit, func(ctx context.Context) (struct{}, error) { return struct{}{}, call(ctx) })
	return err
}

func (e engine) Ping(ctx context.Context) (types.Ping, error) {
	return within(ctx, lookTimeout, e.Client.Ping)
}

func (e engine) ContainerInspect(ctx context.Context, name string) (api.InspectResponse, error) {
	found, err := within(ctx, lookTimeout, func(ctx context.Context) (api.InspectResponse, error) { return e.Client.ContainerInspect(ctx, name) })
	return found, believe(err, noContainer)
}

func (e engine) ContainerList(ctx context.Context, o api.ListOptions) ([]api.Summary, error) {
	return within(ctx, lookTimeout, func(ctx context.Context) ([]api.Summary, error) { return e.Client.ContainerList(ctx, o) })
}

func (e engine) ImageInspect(ctx context.Context, ref string) (image.InspectResponse, error) {
	found, err := within(ctx, lookTimeout, func(ctx context.Context) (image.InspectResponse, error) { return e.Client.ImageInspect(ctx, ref) })
	return found, believe(err, noImage)
}

func (e engine) NetworkInspect(ctx context.Context, name string, o network.InspectOptions) (network.Inspect, error) {
	return within(ctx, lookTimeout, func(ctx context.Context) (network.Inspect, error) { return e.Client.NetworkInspect(ctx, name, o) })
}

func (e engine) NetworkCreate(ctx context.Context, name string, o network.CreateOptions) (network.CreateResponse, error) {
	return within(ctx, changeTimeout, func(ctx context.Context) (network.CreateResponse, error) { return e.Client.NetworkCreate(ctx, name, o) })
}

func (e engine) NetworkDisconnect(ctx context.Context, name, endpoint string, force bool) error {
	return done(ctx, changeTimeout, func(ctx context.Context) error { return e.Client.NetworkDisconnect(ctx, name, endpoint, force) })
}

func (e engine) NetworkRemove(ctx context.Context, name string) error {
	return done(ctx, changeTimeout, func(ctx context.Context) error { return e.Client.NetworkRemove(ctx, name) })
}

func (e engine) ContainerCreate(ctx context.Context, c *api.Config, h *api.HostConfig, n *network.NetworkingConfig, p *ocispec.Platform, name string) (api.CreateResponse, error) {
	made, err := within(ctx, changeTimeout, func(ctx context.Context) (api.CreateResponse, error) {
		return e.Client.ContainerCreate(ctx, c, h, n, p, name)
	})
	return made, believe(err, noImage)
}

func (e engine) ContainerStart(ctx context.Context, id string, o api.StartOptions) error {
	return done(ctx, startTimeout, func(ctx context.Context) error { return e.Client.ContainerStart(ctx, id, o) })
}

// ContainerStop takes as long as the container may, besides.
func (e engine) ContainerStop(ctx context.Context, id string, o api.StopOptions) error {
	grace := time.Duration(*o.Timeout) * time.Second
	return believe(done(ctx, changeTimeout+grace, func(ctx context.Context) error { return e.Client.ContainerStop(ctx, id, o) }), noContainer)
}

func (e engine) ContainerRemove(ctx context.Context, id string, o api.RemoveOptions) error {
	return believe(done(ctx, changeTimeout, func(ctx context.Context) error { return e.Client.ContainerRemove(ctx, id, o) }), noContainer)
}

func (e engine) ContainerPause(ctx context.Context, id string) error {
	return done(ctx, changeTimeout, func(ctx context.Context) error { return e.Client.ContainerPause(ctx, id) })
}

func (e engine) ContainerUnpause(ctx context.Context, id string) error {
	return done(ctx, changeTimeout, func(ctx context.Context) error { return e.Client.ContainerUnpause(ctx, id) })
}

// ContainerAttach returns when ctx ends, too: the client's own waits for the
// Engine's answer whatever ctx says.
func (e engine) ContainerAttach(ctx context.Context, id string, o api.AttachOptions) (types.HijackedResponse, error) {
	type answer struct {
		attached types.HijackedResponse
		err      error
	}
	answered := make(chan answer, 1)
	go func() {
		attached, err := e.Client.ContainerAttach(ctx, id, o)
		answered <- answer{attached, err}
	}()
	select {
	case a := <-answered:
		if a.err == nil {
			context.AfterFunc(ctx, a.attached.Close)
		}
		return a.attached, a.err
	case <-ctx.Done():
		go func() {
			if a := <-answered; a.err == nil {
				a.attached.Close()
			}
		}()
		return types.HijackedResponse{}, ctx.Err()
	}
}
