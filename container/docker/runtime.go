package docker

import (
	"context"
	"regexp"
	"sync"
	"sync/atomic"

	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

const (
	labelInstance = "io.cloned.instance"
	labelID       = "io.cloned.id"
	labelKind     = "io.cloned.kind"
	// labelSpec holds a digest of the Spec, to tell whether a stopped container
	// can be started again for the present one.
	labelSpec = "io.cloned.spec"

	kindInstance = "instance"
	kindTask     = "task"
)

// oldestAPI is that of Docker Engine 20.10.
const oldestAPI = "1.41"

// volumePath is where a container sees its volume.
const volumePath = "/cloned"

// officialUser owns the data in the official PostgreSQL images.
const officialUser = 999

// instancePattern keeps the name of the bridge, "cl-" before it, within the 15
// characters of an interface's name.
var instancePattern = regexp.MustCompile(`^[a-z0-9]{1,12}$`)

// Config says which engine to use, and for whom.
type Config struct {
	// Host is the engine's address, e.g. unix:///var/run/docker.sock. Empty:
	// what the environment says (DOCKER_HOST), otherwise the usual socket.
	Host string
	// Instance is the ID of the daemon's installation: 1 to 12 of a-z, 0-9.
	Instance string
}

// Runtime runs instances as containers.
type Runtime struct {
	api      engine
	instance string
	fence    fence

	// setup lets one goroutine at a time mend the network and its rules.
	setup sync.Mutex
	// isolated says that they were whole when last looked at.
	isolated atomic.Bool
	// volumes caches, by image, the paths that the image declares as volumes.
	volumes sync.Map // string → []string
	// running caches the containers that were seen to run, by the instance's ID, so
	// that none has to be looked up to be frozen. One that has gone has no freezer.
	running sync.Map // string → *running
}

var _ container.Runtime = (*Runtime)(nil)

// Open returns the Runtime on the engine. It does not talk to it: that is what
// Check is for.
func Open(_ context.Context, cfg Config) (*Runtime, error) {
	if !instancePattern.MatchString(cfg.Instance) {
		return nil, errs.New(errs.Invalid, "INVALID_INSTANCE", "installation %q: must be 1 to 12 of a-z and 0-9", cfg.Instance)
	}
	options := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if cfg.Host != "" {
		options = append(options, client.WithHost(cfg.Host))
	}
	api, err := client.NewClientWithOpts(options...)
	if err != nil {
		return nil, errs.New(errs.Invalid, "DOCKER_HOST", "address of the Docker Engine: %w", err)
	}
	return &Runtime{api: engine{api}, instance: cfg.Instance, fence: fence{table: "cloned-" + cfg.Instance, bridge: "cl-" + cfg.Instance}}, nil
}

// Name implements container.Runtime.
func (r *Runtime) Name() string { return "docker" }

// Capabilities implements container.Runtime. Isolated is what was found when the
// rules were last looked at, hence false before the first Setup.
func (r *Runtime) Capabilities() container.Capabilities {
	return container.Capabilities{Isolated: r.isolated.Load(), Limits: true, OwnShm: true}
}

// Check implements container.Runtime.
func (r *Runtime) Check(ctx context.Context) error {
	ping, err := r.api.Ping(ctx)
	if err != nil {
		return classify("Docker Engine", err)
	}
	if versions.LessThan(ping.APIVersion, oldestAPI) {
		return errs.New(errs.Precondition, "DOCKER_TOO_OLD", "the Docker Engine speaks API %s, and 20.10 (API %s) is the oldest that cloned works with", ping.APIVersion, oldestAPI).
			WithHint("upgrade Docker")
	}
	return nil
}

// DefaultUser implements container.Runtime: the user of the official images.
func (r *Runtime) DefaultUser() container.User {
	return container.User{UID: officialUser, GID: officialUser}
}

// VolumePath implements container.Runtime.
func (r *Runtime) VolumePath(string) string { return volumePath }

// Listen implements container.Runtime: on the container's own addresses, of
// which only the published port can be reached.
func (r *Runtime) Listen(spec container.Spec) (addr string, port int) { return "0.0.0.0", spec.Port }

// Close implements container.Runtime.
func (r *Runtime) Close() error { return r.api.Close() }

// containerName is the name of the container of an instance or task.
func (r *Runtime) containerName(id string) string { return "cloned-" + r.instance + "-" + id }

// owns says whether labels are ours, for the ID.
func (r *Runtime) owns(labels map[string]string, id string) bool {
	return labels[labelInstance] == r.instance && labels[labelID] == id
}
