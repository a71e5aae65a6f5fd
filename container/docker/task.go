package docker

import (
	"context"
	"errors"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	api "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// Run implements container.Runtime. Lines are in order within standard output
// and within standard error; the engine does not keep the order between them.
func (r *Runtime) Run(ctx context.Context, task container.Task) error {
	if err := task.Check(); err != nil {
		return err
	}
	volumes, err := r.imageVolumes(ctx, task.Image)
	if err != nil {
		return err
	}
	id, err := r.create(ctx, task.ID, task.Image, r.taskSettings(task, volumes))
	if cerrdefs.IsConflict(err) {
		return errs.New(errs.Exists, "NAME_TAKEN", "a container named %s is there already: %w", r.containerName(task.ID), err)
	}
	if err != nil {
		return err
	}
	return errors.Join(r.runTo(ctx, id, task), r.discard(ctx, id))
}

// runTo runs a task's container to its end, or until the Engine says nothing about
// it any more.
func (r *Runtime) runTo(ctx context.Context, dockerID string, task container.Task) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel(nil)
	watch.Go(func() { r.watchTask(ctx, dockerID, cancel) })
	return r.follow(ctx, dockerID, task)
}

// A task that runs is looked at now and then: nothing else tells one that takes
// long from an Engine that will never say how it ended.
const (
	taskWatch = 20 * time.Second
	// taskDoubts is how many looks in turn must have found that.
	taskDoubts = 3
)

// watchTask cancels when the Engine does not answer any more, or when the task has
// ended and the Engine has not said so.
func (r *Runtime) watchTask(ctx context.Context, dockerID string, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(taskWatch)
	defer ticker.Stop()
	for doubts := 0; doubts < taskDoubts; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		found, err := r.look(ctx, dockerID)
		if err == nil && (found.State.Running || found.State.Paused) {
			doubts = 0
		} else {
			doubts++
		}
	}
	cancel(errSilent)
}

// follow starts a task's container and passes on what it says until it ends.
func (r *Runtime) follow(ctx context.Context, dockerID string, task container.Task) error {
	what := "task " + task.ID
	attached, err := r.api.ContainerAttach(ctx, dockerID, api.AttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return classify("attaching to "+what, silence(ctx, err))
	}
	defer attached.Close()
	// Asked for before the start, so that no end can be missed.
	exited, failed := r.api.ContainerWait(ctx, dockerID, api.WaitConditionNextExit)
	if err := r.api.ContainerStart(ctx, dockerID, api.StartOptions{}); err != nil {
		return classify("starting "+what, silence(ctx, err))
	}
	// A line may consist of pieces of one stream between pieces of the other.
	tail := container.NewLines(task.Output)
	stdout := container.NewLines(tail.Line)
	stderr := container.NewLines(tail.Line)
	copied := make(chan error, 1)
	go func() {
		_, err := stdcopy.StdCopy(stdout, stderr, attached.Reader)
		copied <- err
	}()
	var code int64
	select {
	case result := <-exited:
		code = result.StatusCode
	case err := <-failed:
		attached.Close()
		<-copied
		return classify("waiting for "+what, silence(ctx, err))
	}
	if err := <-copied; err != nil {
		return classify("reading the output of "+what, silence(ctx, err))
	}
	stdout.Flush()
	stderr.Flush()
	if code == 0 {
		return nil
	}
	found, err := r.look(ctx, dockerID)
	if err != nil {
		return classify("looking at "+what, err)
	}
	return errs.New(errs.Precondition, container.ReasonTaskFailed, "%s (%s) failed: %s", what, task.Argv[0], exitText(found.State)).WithLog(tail.Last())
}
