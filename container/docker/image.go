package docker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// EnsureImage implements container.Runtime.
func (r *Runtime) EnsureImage(ctx context.Context, ref string) (id string, err error) {
	if ref == "" {
		return "", errs.New(errs.Invalid, "INVALID_IMAGE", "no image is named")
	}
	id, err = r.inspectImage(ctx, ref)
	if !cerrdefs.IsNotFound(err) {
		return id, classify("image "+ref, err)
	}
	if err := r.pull(ctx, ref); err != nil {
		if ctx.Err() != nil || errors.Is(err, errSilent) {
			return "", classify("pulling image "+ref, cmp.Or(ctx.Err(), err))
		}
		return "", imageMissing(ref, err)
	}
	id, err = r.inspectImage(ctx, ref)
	if cerrdefs.IsNotFound(err) {
		return "", imageMissing(ref, err)
	}
	return id, classify("image "+ref, err)
}

// FindImage implements container.Runtime.
func (r *Runtime) FindImage(ctx context.Context, ref string) (id string, err error) {
	id, err = r.inspectImage(ctx, ref)
	if cerrdefs.IsNotFound(err) {
		return "", errs.New(errs.Precondition, container.ReasonImageMissing, "image %q is not on this host", ref).
			WithHint("docker pull or docker load it")
	}
	return id, classify("image "+ref, err)
}

// inspectImage returns the image's ID and remembers its volumes.
func (r *Runtime) inspectImage(ctx context.Context, ref string) (id string, err error) {
	found, err := r.api.ImageInspect(ctx, ref)
	if err != nil {
		return "", err
	}
	var volumes []string
	if found.Config != nil {
		for path := range found.Config.Volumes {
			volumes = append(volumes, path)
		}
	}
	slices.Sort(volumes)
	r.volumes.Store(ref, volumes)
	r.volumes.Store(found.ID, volumes)
	return found.ID, nil
}

// pull pulls an image. Its errors come in the stream.
func (r *Runtime) pull(ctx context.Context, ref string) error {
	auth, err := registryAuth(ref)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(pullIdle, func() { cancel(errSilent) })
	defer silent.Stop()
	stream, err := r.api.ImagePull(ctx, ref, image.PullOptions{RegistryAuth: auth})
	if err != nil {
		return silence(ctx, err)
	}
	defer stream.Close()
	for decoder := json.NewDecoder(stream); ; silent.Reset(pullIdle) {
		var message struct {
			Error string `json:"error"`
		}
		err := decoder.Decode(&message)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return silence(ctx, err)
		}
		if message.Error != "" {
			return errors.New(message.Error)
		}
	}
}

// imageVolumes returns the paths that an image declares as volumes. It asks the
// engine once for each image.
func (r *Runtime) imageVolumes(ctx context.Context, ref string) ([]string, error) {
	if volumes, ok := r.volumes.Load(ref); ok {
		return volumes.([]string), nil
	}
	_, err := r.inspectImage(ctx, ref)
	if cerrdefs.IsNotFound(err) {
		return nil, imageMissing(ref, err)
	}
	if err != nil {
		return nil, classify("image "+ref, err)
	}
	volumes, _ := r.volumes.Load(ref)
	return volumes.([]string), nil
}
