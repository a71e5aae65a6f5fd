package docker

import (
	"context"
	"math"
	"net"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	api "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// inspect returns the container of an instance or task; errs.NotFound if there
// is none that bears our labels. What is done to it then is done by its own ID,
// so that it can't be done to another.
func (r *Runtime) inspect(ctx context.Context, id string) (api.InspectResponse, error) {
	if err := container.CheckID(id); err != nil {
		return api.InspectResponse{}, err
	}
	found, err := r.look(ctx, r.containerName(id))
	if cerrdefs.IsNotFound(err) {
		return found, notFound(id)
	}
	if err != nil {
		return found, classify("looking at the container of "+id, err)
	}
	if !r.owns(found.Config.Labels, id) {
		return found, notFound(id)
	}
	return found, nil
}

// stateOf says what a container's status means.
func stateOf(status string) container.State {
	switch status {
	case "created":
		return container.Created
	case "running", "restarting":
		return container.Running
	case "paused":
		return container.Frozen
	}
	return container.Exited
}

// state is that of a container that was looked at closely.
func state(found api.InspectResponse) container.State {
	state := stateOf(found.State.Status)
	if state == container.Running && isFrozen(found.ID) {
		return container.Frozen
	}
	return state
}

// startable says whether a container of the status can be started; one that is
// being removed, or that could not be removed, can't.
func startable(status string) bool { return status == "created" || status == "exited" }

func describe(id string, found api.InspectResponse) (container.Instance, error) {
	in := container.Instance{ID: id, Task: found.Config.Labels[labelKind] == kindTask, State: state(found)}
	started, err := time.Parse(time.RFC3339Nano, found.State.StartedAt)
	if err != nil {
		return in, errs.New(errs.Internal, "DOCKER", "start time of %s: %w", id, err)
	}
	if started.Year() > 1 { // the engine's way of saying never
		in.Started = started
	}
	if in.State == container.Exited {
		in.ExitCode, in.OOMKilled = found.State.ExitCode, found.State.OOMKilled
	}
	return in, nil
}

// Inspect implements container.Runtime.
func (r *Runtime) Inspect(ctx context.Context, id string) (container.Instance, error) {
	found, err := r.inspect(ctx, id)
	if err != nil {
		return container.Instance{}, err
	}
	if found.State.Running {
		r.note(id, found.ID)
	}
	return describe(id, found)
}

// Stop implements container.Runtime.
func (r *Runtime) Stop(ctx context.Context, id string, grace time.Duration) error {
	found, err := r.inspect(ctx, id)
	if err != nil {
		return err
	}
	if state := stateOf(found.State.Status); state != container.Running && state != container.Frozen {
		return nil
	}
	if err := release(found); err != nil {
		return err
	}
	// The Engine says that it is stopped when its network and filesystems are taken
	// apart too. Who is to start on the same port need not wait for that.
	seconds, stopped := int(math.Ceil(grace.Seconds())), make(chan error, 1)
	go func() {
		stopped <- r.api.ContainerStop(context.WithoutCancel(ctx), found.ID, api.StopOptions{Timeout: &seconds})
	}()
	for {
		select {
		case err = <-stopped:
			if cerrdefs.IsNotFound(err) {
				return notFound(id)
			}
			return classify("stopping "+id, err)
		case <-ctx.Done():
			return classify("stopping "+id, ctx.Err())
		case <-time.After(stopPoll):
			if portsFree(found) {
				return nil
			}
		}
	}
}

// stopPoll is between two looks whether the ports of a container that stops are
// free.
const stopPoll = 2 * time.Millisecond

// portsFree says that a container has ended so far that its ports, if it
// publishes any, are free: the Engine holds them until its process has ended.
func portsFree(found api.InspectResponse) bool {
	published := 0
	for _, bindings := range found.HostConfig.PortBindings {
		for _, b := range bindings {
			if !portFree(b.HostIP, b.HostPort) {
				return false
			}
			published++
		}
	}
	return published > 0
}

// portFree says that nobody on the host has the port.
func portFree(addr, port string) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(addr, port))
	return err == nil && l.Close() == nil
}

// Remove implements container.Runtime.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	r.running.Delete(id)
	found, err := r.inspect(ctx, id)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := release(found); err != nil {
		return err
	}
	return r.remove(ctx, found.ID, id)
}

// remove kills and removes a container and returns when it has gone, also if
// somebody else removes it.
func (r *Runtime) remove(ctx context.Context, dockerID, what string) error {
	err := r.api.ContainerRemove(ctx, dockerID, api.RemoveOptions{Force: true, RemoveVolumes: true})
	if cerrdefs.IsConflict(err) { // its removal is under way
		gone, failed := r.api.ContainerWait(ctx, dockerID, api.WaitConditionRemoved)
		select {
		case <-gone:
			return nil
		case err = <-failed:
		}
	}
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return classify("removing the container of "+what, err)
}

// List implements container.Runtime. It looks more closely only at those that
// have ended.
func (r *Runtime) List(ctx context.Context) ([]container.Instance, error) {
	all, err := r.api.ContainerList(ctx, api.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", labelInstance+"="+r.instance))})
	if err == nil {
		err = r.checkList(all)
	}
	if err != nil {
		return nil, classify("listing containers", err)
	}
	list := make([]container.Instance, 0, len(all))
	for _, c := range all {
		in := container.Instance{ID: c.Labels[labelID], Task: c.Labels[labelKind] == kindTask, State: stateOf(c.State)}
		if in.State == container.Running && isFrozen(c.ID) {
			in.State = container.Frozen
		}
		if in.State == container.Exited {
			found, err := r.look(ctx, c.ID)
			if cerrdefs.IsNotFound(err) {
				continue // removed meanwhile
			}
			if err != nil {
				return nil, classify("looking at the container of "+in.ID, err)
			}
			if in, err = describe(in.ID, found); err != nil {
				return nil, err
			}
		}
		list = append(list, in)
	}
	return list, nil
}
