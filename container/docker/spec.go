package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	api "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/go-connections/nat"

	"github.com/cloned-db/cloned/container"
)

// What an instance gets unless its Limits say otherwise. Memory and CPUs are
// not limited by default.
const (
	defaultPIDs = 1024
	// PostgreSQL's parallel queries put their working memory into /dev/shm, and
	// Docker's default of 64 MB is too little for them.
	defaultShm = 256 << 20
)

// scratch are the options of the tmpfs mounts. They have no programs on them.
const scratch = "rw,nosuid,nodev,noexec,mode=1777,size=67108864"

// Logs take up to twice this of the disk for each container.
const logSize, logFiles = "8m", "2"

// nowhere is the name server of a container: itself, where nobody listens.
// Without one the engine's own server passes questions on to the host's, past
// all rules for what the container sends.
const nowhere = "127.0.0.1"

// settings are what the Engine's API takes to create a container.
type settings struct {
	config *api.Config
	host   *api.HostConfig
}

// instanceSettings says how to create the container of an instance from an image
// with the volumes. It does no I/O.
func (r *Runtime) instanceSettings(spec container.Spec, volumes []string) (settings, error) {
	s := r.common(spec.ID, kindInstance, spec.Image, spec.Argv, spec.Env, spec.Volume, spec.User, spec.Limits, volumes)
	digest, err := specDigest(spec)
	if err != nil {
		return s, err
	}
	s.config.Labels[labelSpec] = digest
	s.config.StopSignal = spec.StopSignal
	s.host.NetworkMode = api.NetworkMode(r.networkName())
	s.host.DNS = []string{nowhere}
	s.host.DNSSearch = []string{"."} // none, rather than the host's
	// The engine's server does not answer then, in 20.10; waiting is useless.
	s.host.DNSOptions = []string{"timeout:1", "attempts:1"}
	s.host.LogConfig = api.LogConfig{Type: "json-file", Config: map[string]string{"max-size": logSize, "max-file": logFiles}}
	if spec.PublishPort != 0 {
		port := nat.Port(strconv.Itoa(spec.Port) + "/tcp")
		s.config.ExposedPorts = nat.PortSet{port: {}}
		s.host.PortBindings = nat.PortMap{port: {{HostIP: spec.PublishAddr, HostPort: strconv.Itoa(spec.PublishPort)}}}
	}
	return s, nil
}

// taskSettings is instanceSettings for a task. Its output is read while it runs
// and not kept.
func (r *Runtime) taskSettings(task container.Task, volumes []string) settings {
	s := r.common(task.ID, kindTask, task.Image, task.Argv, task.Env, task.Volume, task.User, task.Limits, volumes)
	s.config.AttachStdout, s.config.AttachStderr = true, true
	s.host.LogConfig = api.LogConfig{Type: "none"}
	s.host.NetworkMode = "none"
	if task.Network == container.NetworkHost {
		s.host.NetworkMode = "host"
	}
	return s
}

func (r *Runtime) common(id, kind, image string, argv, env []string, volume string, user container.User, limits container.Limits, volumes []string) settings {
	config := &api.Config{
		Image: image,
		// The image's own entry point would initialise a data directory.
		Entrypoint: argv[:1], Cmd: argv[1:],
		Env:         env,
		User:        fmt.Sprintf("%d:%d", user.UID, user.GID),
		WorkingDir:  "/",
		Labels:      map[string]string{labelInstance: r.instance, labelID: id, labelKind: kind},
		Healthcheck: &api.HealthConfig{Test: []string{"NONE"}},
	}
	host := &api.HostConfig{
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges"},
		ReadonlyRootfs: true,
		Tmpfs:          map[string]string{"/tmp": scratch, "/run": scratch},
		RestartPolicy:  api.RestartPolicy{Name: api.RestartPolicyDisabled},
		ShmSize:        defaultShm,
		Resources:      api.Resources{Memory: limits.MemoryBytes, MemorySwap: limits.MemoryBytes, NanoCPUs: int64(limits.CPUs * 1e9)},
	}
	if limits.ShmBytes > 0 {
		host.ShmSize = limits.ShmBytes
	}
	pids := int64(defaultPIDs)
	if limits.PIDs > 0 {
		pids = limits.PIDs
	}
	host.PidsLimit = &pids
	// Otherwise the engine would make a volume of its own for each container.
	for _, path := range volumes {
		host.Tmpfs[path] = scratch
	}
	if volume != "" {
		host.Mounts = []mount.Mount{{
			Type: mount.TypeBind, Source: volume, Target: volumePath,
			BindOptions: &mount.BindOptions{Propagation: mount.PropagationPrivate},
		}}
	}
	return settings{config: config, host: host}
}

// specDigest tells Specs apart.
func specDigest(spec container.Spec) (string, error) {
	data, err := json.Marshal(spec)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16]), nil
}
