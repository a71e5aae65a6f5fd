package docker

import (
	"context"
	"io"
	"strconv"

	cerrdefs "github.com/containerd/errdefs"
	api "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// lastLines is how much of a log an error carries.
const lastLines = 40

// Logs implements container.Runtime.
func (r *Runtime) Logs(ctx context.Context, id string, tail int, follow bool, w io.Writer) error {
	found, err := r.inspect(ctx, id)
	if err == nil {
		err = r.logs(ctx, found.ID, tail, follow, w)
	}
	if follow && ctx.Err() != nil {
		return nil
	}
	return err
}

func (r *Runtime) logs(ctx context.Context, dockerID string, tail int, follow bool, w io.Writer) error {
	options := api.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: follow, Tail: "all"}
	if tail >= 0 {
		options.Tail = strconv.Itoa(tail)
	}
	stream, err := r.api.ContainerLogs(ctx, dockerID, options)
	if err != nil {
		return classify("reading the log", err)
	}
	defer stream.Close()
	_, err = stdcopy.StdCopy(w, w, stream)
	return classify("reading the log", err)
}

// WaitReady implements container.Runtime. It asks the engine one thing, beside
// the probes: to say when the container ends.
func (r *Runtime) WaitReady(ctx context.Context, id string, probe func(context.Context) error) error {
	if err := container.CheckID(id); err != nil {
		return err
	}
	watch, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	var exit error
	go func() {
		exit = r.awaitExit(watch, id)
		close(ended)
	}()
	err := container.Poll(ctx, ended, probe, func() error { return exit })
	cancel()
	<-ended
	return err
}

// awaitExit returns when a container has ended, with the error that says how.
func (r *Runtime) awaitExit(ctx context.Context, id string) error {
	exited, failed := r.api.ContainerWait(ctx, r.containerName(id), api.WaitConditionNotRunning)
	select {
	case <-exited:
	case err := <-failed:
		if cerrdefs.IsNotFound(err) {
			return notFound(id)
		}
		return classify("waiting for "+id, err)
	}
	found, err := r.inspect(ctx, id)
	if err != nil {
		return err
	}
	if found.State.Status == "created" {
		return errs.New(errs.Precondition, container.ReasonExited, "instance %s was never started", id)
	}
	lines := container.NewLines(nil)
	if err := r.logs(ctx, found.ID, lastLines, false, lines); err != nil {
		return err
	}
	lines.Flush()
	return errs.New(errs.Precondition, container.ReasonExited, "instance %s ended before it was ready: %s", id, exitText(found.State)).WithLog(lines.Last())
}

// exitText says for people how a container ended.
func exitText(state *api.State) string {
	text := "exit code " + strconv.Itoa(state.ExitCode)
	if state.OOMKilled {
		text += ", killed because it used more memory than its limit"
	}
	return text
}
