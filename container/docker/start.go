package docker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	api "github.com/docker/docker/api/types/container"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// cleanupTimeout is how long the removal of what a failed call made may take.
const cleanupTimeout = 30 * time.Second

// startTries is how often a start is tried again for a port that only the Engine
// takes for used, and startPause the time between.
const (
	startTries = 5
	startPause = 20 * time.Millisecond
)

// Start implements container.Runtime. A running instance is left as it is,
// whatever spec says. On the way of a new one it makes two calls of the
// Engine's API, create and start; everything else is looked at only when one of
// them fails.
func (r *Runtime) Start(ctx context.Context, spec container.Spec) error {
	if err := spec.Check(); err != nil {
		return err
	}
	if err := r.guard(ctx); err != nil {
		return err
	}
	volumes, err := r.imageVolumes(ctx, spec.Image)
	if err != nil {
		return err
	}
	s, err := r.instanceSettings(spec, volumes)
	if err != nil {
		return err
	}
	// The second turn is for a container that was in the way and has been
	// removed, the third for one that somebody makes at the same time.
	for range 3 {
		id, err := r.create(ctx, spec.ID, spec.Image, s)
		if err == nil {
			if err = r.start(ctx, id, spec); err != nil {
				err = errors.Join(err, r.discard(ctx, id))
			}
			return err
		}
		if !cerrdefs.IsConflict(err) {
			return err
		}
		if done, err := r.takeUp(ctx, spec, s); done || err != nil {
			return err
		}
	}
	return errs.New(errs.Conflict, "NAME_TAKEN", "instance %s: somebody else makes and removes containers of its name", spec.ID)
}

// create creates a container. A conflict of names is returned as it is.
func (r *Runtime) create(ctx context.Context, id, image string, s settings) (string, error) {
	made, err := r.api.ContainerCreate(ctx, s.config, s.host, nil, nil, r.containerName(id))
	switch {
	case err == nil:
		return made.ID, nil
	case cerrdefs.IsConflict(err):
		return "", err
	case cerrdefs.IsNotFound(err):
		r.volumes.Delete(image)
		return "", imageMissing(image, err)
	}
	return "", classify("creating the container of "+id, err)
}

func (r *Runtime) start(ctx context.Context, dockerID string, spec container.Spec) error {
	err := r.api.ContainerStart(ctx, dockerID, api.StartOptions{})
	// An Engine that is just taking another container apart may have let go of the
	// port and not have noted it yet.
	for range startTries {
		if err == nil || !isPortTaken(err) || !portFree(spec.PublishAddr, strconv.Itoa(spec.PublishPort)) || ctx.Err() != nil {
			break
		}
		time.Sleep(startPause)
		err = r.api.ContainerStart(ctx, dockerID, api.StartOptions{})
	}
	if err == nil {
		r.note(spec.ID, dockerID)
	}
	if err != nil && isPortTaken(err) {
		return errs.New(errs.Exhausted, container.ReasonPortTaken, "port %d on %s is taken by another program: %w", spec.PublishPort, spec.PublishAddr, err).
			WithHint("free it, or choose another port")
	}
	return classify("starting the container of "+spec.ID, err)
}

// takeUp deals with the container that is in the way of spec's: it is the
// instance itself (done), or has to be made anew and has been removed (not
// done), or is not ours (an error).
func (r *Runtime) takeUp(ctx context.Context, spec container.Spec, s settings) (done bool, err error) {
	found, err := r.look(ctx, r.containerName(spec.ID))
	if cerrdefs.IsNotFound(err) {
		return false, nil // gone meanwhile
	}
	if err != nil {
		return false, classify("looking at the container of "+spec.ID, err)
	}
	if !r.owns(found.Config.Labels, spec.ID) {
		return false, errs.New(errs.Exists, "NAME_TAKEN", "container %.12s has the name of instance %s, %s, and is not ours", found.ID, spec.ID, r.containerName(spec.ID)).
			WithHint("cloned does not touch it: remove or rename it")
	}
	labels := found.Config.Labels
	switch state := state(found); {
	case labels[labelKind] != kindInstance:
		return false, errs.New(errs.Exists, "NAME_TAKEN", "%s is the ID of a task", spec.ID)
	case state == container.Running:
		return true, nil
	case state == container.Frozen:
		return true, r.thaw(ctx, found)
	case labels[labelSpec] == s.config.Labels[labelSpec] && startable(found.State.Status):
		err := r.start(ctx, found.ID, spec)
		if err == nil || !errs.Is(err, errs.Internal) {
			return true, err
		}
		// After a crash of its own the Engine may keep leftovers by the container's
		// ID and never start it again ("task … already exists"): make another.
		if left := killLeft(ctx, found.ID); left != nil {
			return false, errors.Join(err, left)
		}
	}
	return false, r.remove(ctx, found.ID, spec.ID)
}

// discard removes a container that we have just made, even when ctx has ended.
func (r *Runtime) discard(ctx context.Context, dockerID string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	return r.remove(ctx, dockerID, fmt.Sprintf("%.12s", dockerID))
}
