package docker

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/client"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// classify gives an error of the Engine's API its kind. What is not recognised
// is Internal. what says what was being done.
func classify(what string, err error) error {
	var network net.Error
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errAnswer), errors.As(err, &syntax), errors.As(err, &kind),
		cerrdefs.IsNotFound(err): // whoever can conclude something from that has done so
		return errs.New(errs.Unavailable, "DOCKER_ANSWER", "%s: %w", what, err).
			WithHint("see what stands between cloned and the Docker Engine: DOCKER_HOST, a proxy")
	case errors.Is(err, errSilent):
		return away(what, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return errs.New(errs.Unavailable, "CANCELLED", "%s: %w", what, err)
	case client.IsErrConnectionFailed(err), errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		cerrdefs.IsUnavailable(err):
		return away(what, err)
	case cerrdefs.IsInvalidArgument(err):
		return errs.New(errs.Invalid, "DOCKER_REFUSED", "%s: %w", what, err)
	}
	return errs.New(errs.Internal, "DOCKER", "%s: %w", what, err)
}

func away(what string, err error) error {
	return errs.New(errs.Unavailable, "DOCKER_UNAVAILABLE", "%s: the Docker Engine does not answer: %w", what, err).
		WithHint("see whether it runs (docker info) and whether this user may use it (group docker)")
}

func notFound(id string) error {
	return errs.New(errs.NotFound, "NO_INSTANCE", "no instance %s", id)
}

func imageMissing(image string, err error) error {
	return errs.New(errs.Precondition, container.ReasonImageMissing, "image %q is not on this host and can't be pulled: %w", image, err).
		WithHint("docker pull %s, docker load, or scripts/postgres-image, which makes one from this host's packages", image)
}

// isPortTaken recognises what the Engine says when it can't publish a port: the
// first from its own books, the second from the kernel.
func isPortTaken(err error) bool {
	text := err.Error()
	return strings.Contains(text, "port is already allocated") || strings.Contains(text, "address already in use")
}
