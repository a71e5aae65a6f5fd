package docker

import (
	"context"
	"math"
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
	found, err := r.api.ContainerInspect(ctx, r.containerName(id))
	if cerrdefs.IsNotFound(err) {
		return found, notFound(id)
	}
	if err != nil {
		return found, classify("looking at the container of "+id, err)
	}
	if found.Config == nil || !r.owns(found.Config.Labels, id) {
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

// startable says whether a container of the status can be started; one that is
// being removed, or that could not be removed, can't.
func startable(status string) bool { return status == "created" || status == "exited" }

func describe(id string, found api.InspectResponse) (container.Instance, error) {
	in := container.Instance{ID: id, Task: found.Config.Labels[labelKind] == kindTask, State: stateOf(found.State.Status)}
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
	seconds := int(math.Ceil(grace.Seconds()))
	err = r.api.ContainerStop(ctx, found.ID, api.StopOptions{Timeout: &seconds})
	if cerrdefs.IsNotFound(err) {
		return notFound(id)
	}
	return classify("stopping "+id, err)
}

// Freeze implements container.Runtime.
func (r *Runtime) Freeze(ctx context.Context, id string) error {
	found, err := r.inspect(ctx, id)
	switch {
	case err != nil:
		return err
	case stateOf(found.State.Status) == container.Frozen:
		return nil
	}
	err = r.api.ContainerPause(ctx, found.ID)
	if !cerrdefs.IsConflict(err) {
		return classify("freezing "+id, err)
	}
	// It is not running, or somebody else was quicker.
	switch now, err := r.Inspect(ctx, id); {
	case err != nil:
		return err
	case now.State == container.Frozen:
		return nil
	default:
		return errs.New(errs.Precondition, container.ReasonExited, "instance %s does not run", id)
	}
}

// Thaw implements container.Runtime.
func (r *Runtime) Thaw(ctx context.Context, id string) error {
	found, err := r.inspect(ctx, id)
	if err != nil || stateOf(found.State.Status) != container.Frozen {
		return err
	}
	return r.thaw(ctx, found.ID, id)
}

func (r *Runtime) thaw(ctx context.Context, dockerID, id string) error {
	err := r.api.ContainerUnpause(ctx, dockerID)
	if cerrdefs.IsConflict(err) { // somebody else was quicker
		return nil
	}
	return classify("thawing "+id, err)
}

// Remove implements container.Runtime.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	found, err := r.inspect(ctx, id)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
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
	if err != nil {
		return nil, classify("listing containers", err)
	}
	list := make([]container.Instance, 0, len(all))
	for _, c := range all {
		in := container.Instance{ID: c.Labels[labelID], Task: c.Labels[labelKind] == kindTask, State: stateOf(c.State)}
		if in.State == container.Exited {
			found, err := r.api.ContainerInspect(ctx, c.ID)
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
