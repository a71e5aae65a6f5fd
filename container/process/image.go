package process

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// system is where the usual tools are, beside the image's programs.
const system = "/usr/local/bin:/usr/bin:/bin"

// EnsureImage implements container.Runtime: an image is a directory of
// programs, and its path is the only identity that it has.
func (r *Runtime) EnsureImage(ctx context.Context, image string) (id string, err error) {
	return r.FindImage(ctx, image)
}

// FindImage implements container.Runtime.
func (r *Runtime) FindImage(_ context.Context, image string) (id string, err error) {
	if info, err := os.Stat(image); err != nil || !info.IsDir() || !filepath.IsAbs(image) {
		return "", errs.New(errs.Precondition, container.ReasonImageMissing, "image %q: not an absolute path of a directory of programs on this host", image).
			WithHint("without Docker an image is a directory such as /usr/lib/postgresql/15/bin: install that version")
	}
	return filepath.Clean(image), nil
}

// program finds a command in the image.
func (r *Runtime) program(ctx context.Context, image, name string) (string, error) {
	if _, err := r.EnsureImage(ctx, image); err != nil {
		return "", err
	}
	dirs := append([]string{image}, strings.Split(system, ":")...)
	if strings.Contains(name, "/") {
		dirs = []string{"/"}
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", errs.New(errs.Precondition, container.ReasonImageMissing, "image %q has no program %q", image, name)
}
