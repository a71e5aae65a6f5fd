package docker

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	api "github.com/docker/docker/api/types/container"
)

// errAnswer is for what no Engine answers: something between us and it may have
// cut it short, or made it up. Nothing is concluded from it.
var errAnswer = errors.New("an answer that can't be the Engine's")

// isDockerID says that a text is the ID of a container. It is looked for among
// the host's processes and cgroups: an empty one would be found everywhere.
var isDockerID = regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString

// The Engine's words for what is not there.
const (
	noContainer = "No such container"
	noImage     = "No such image"
)

// believe returns errAnswer for the word that something is not there if it is not
// the Engine's: other things answer with the same code, but in other words.
func believe(err error, words string) error {
	if cerrdefs.IsNotFound(err) && !strings.Contains(err.Error(), words) {
		return fmt.Errorf("%w: %v", errAnswer, err)
	}
	return err
}

// look asks the Engine about a container, by name or ID.
func (r *Runtime) look(ctx context.Context, name string) (api.InspectResponse, error) {
	found, err := r.api.ContainerInspect(ctx, name)
	if err == nil && (found.ContainerJSONBase == nil || found.State == nil || found.HostConfig == nil || found.Config == nil || !isDockerID(found.ID)) {
		err = errAnswer
	}
	return found, err
}

// checkList returns an error for a list that is not, or not only, of what was
// asked for. None at all is an empty list, and not no list.
func (r *Runtime) checkList(all []api.Summary) error {
	if all == nil {
		return errAnswer
	}
	for _, c := range all {
		if c.Labels[labelInstance] != r.instance || c.Labels[labelID] == "" || !isDockerID(c.ID) {
			return errAnswer
		}
	}
	return nil
}
