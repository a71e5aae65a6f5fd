package docker

import (
	"context"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

const (
	optionBridge = "com.docker.network.bridge.name"
	optionICC    = "com.docker.network.bridge.enable_icc"
	optionNAT    = "com.docker.network.bridge.enable_ip_masquerade"
)

func (r *Runtime) networkName() string { return "cloned-" + r.instance }

// Setup implements container.Runtime: the network and the rules that keep what
// is on it harmless. Where all is well it makes one call of the Engine's API.
func (r *Runtime) Setup(ctx context.Context) error {
	r.setup.Lock()
	defer r.setup.Unlock()
	err := r.setUp(ctx)
	r.isolated.Store(err == nil)
	return err
}

func (r *Runtime) setUp(ctx context.Context) error {
	// The rules name the bridge by its name, so they can come first: there is
	// no time at which the network is there without them.
	if err := r.fence.ensure(); err != nil {
		return err
	}
	if err := r.ensureNetwork(ctx); err != nil {
		return err
	}
	return r.checkBridge()
}

func (r *Runtime) ensureNetwork(ctx context.Context) error {
	err := r.checkNetwork(ctx)
	if cerrdefs.IsNotFound(err) {
		return r.createNetwork(ctx)
	}
	return err
}

// CheckSetup implements container.Runtime.
func (r *Runtime) CheckSetup(ctx context.Context) error {
	whole, err := r.fence.whole()
	if err == nil && !whole {
		err = errs.New(errs.Precondition, container.ReasonNotIsolated, "the packet filter's rules, without which clones could connect to production, are not in place").
			WithHint("they are set at the next reconciliation; see what flushes nftables")
	}
	if err == nil {
		err = r.checkNetwork(ctx)
	}
	if cerrdefs.IsNotFound(err) {
		return errs.New(errs.Precondition, "NO_NETWORK", "the clones' network %s is not there", r.networkName()).
			WithHint("it is made at the next reconciliation; see who removes it")
	}
	if err != nil {
		return err
	}
	return r.checkBridge()
}

// checkBridge returns nil if the rules concern the clones' network.
func (r *Runtime) checkBridge() error {
	up, err := r.fence.concerns()
	if err != nil || up {
		return err
	}
	return errs.New(errs.Precondition, container.ReasonNotIsolated, "the bridge %s of the clones' network is not seen here, so the Docker Engine runs in another network namespace (rootless, in a virtual machine, or on another host), where cloned can't keep clones from connecting to production", r.fence.bridge).
		WithHint("use an engine that runs as root on this host, or runtime: process")
}

// guard returns nil only if what keeps instances harmless is in place. It is
// looked at before each start, in the kernel and not through the engine.
func (r *Runtime) guard(ctx context.Context) error {
	whole, err := r.fence.whole()
	if err == nil && whole {
		whole, err = r.fence.concerns()
	}
	if err == nil && whole {
		r.isolated.Store(true)
		return nil
	}
	return r.Setup(ctx)
}

// checkNetwork returns nil if the network is there and is ours. That it is absent
// is the Engine's own error.
func (r *Runtime) checkNetwork(ctx context.Context) error {
	found, err := r.network(ctx)
	if cerrdefs.IsNotFound(err) {
		return err
	}
	if err != nil {
		return classify("network "+r.networkName(), err)
	}
	if found.Labels[labelInstance] != r.instance {
		return errs.New(errs.Exists, "NAME_TAKEN", "a network named %s is there and is not ours", r.networkName()).
			WithHint("cloned does not touch it: remove it with docker network rm")
	}
	if found.Options[optionBridge] != r.fence.bridge {
		return errs.New(errs.Precondition, container.ReasonNotIsolated, "network %s is not on the bridge %s", r.networkName(), r.fence.bridge).
			WithHint("remove it with docker network rm: cloned makes it anew")
	}
	return nil
}

func (r *Runtime) network(ctx context.Context) (network.Inspect, error) {
	return r.api.NetworkInspect(ctx, r.networkName(), network.InspectOptions{})
}

func (r *Runtime) createNetwork(ctx context.Context) error {
	ipv6 := false
	_, err := r.api.NetworkCreate(ctx, r.networkName(), network.CreateOptions{
		Driver: "bridge", EnableIPv6: &ipv6,
		Labels: map[string]string{labelInstance: r.instance},
		// What Docker can do about it, it shall do too; the rules do not rely on it.
		Options: map[string]string{optionBridge: r.fence.bridge, optionICC: "false", optionNAT: "false"},
	})
	if err != nil && strings.Contains(err.Error(), "non-overlapping") {
		return errs.New(errs.Exhausted, "NO_SUBNET", "the Docker Engine has no subnet left for the network %s: %w", r.networkName(), err).
			WithHint("remove networks that are not used (docker network prune), or widen default-address-pools in its configuration")
	}
	return classify("creating the network "+r.networkName(), err)
}

// Teardown implements container.Runtime.
func (r *Runtime) Teardown(ctx context.Context) error {
	r.setup.Lock()
	defer r.setup.Unlock()
	list, err := r.List(ctx)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		return errs.New(errs.Precondition, "IN_USE", "%d instances and tasks are left, such as %s", len(list), list[0].ID)
	}
	found, err := r.network(ctx)
	if err == nil && found.Labels[labelInstance] == r.instance {
		err = r.removeNetwork(ctx, found)
	}
	if err != nil && !cerrdefs.IsNotFound(err) {
		return classify("removing the network "+r.networkName(), err)
	}
	r.isolated.Store(false)
	return r.fence.remove()
}

// removeNetwork removes a network, and from it first what the Engine now and
// then keeps there: endpoints of containers that are gone. Others it refuses to
// part with.
func (r *Runtime) removeNetwork(ctx context.Context, n network.Inspect) error {
	for id, endpoint := range n.Containers {
		if _, err := r.api.ContainerInspect(ctx, id); !cerrdefs.IsNotFound(err) {
			continue
		}
		if err := r.api.NetworkDisconnect(ctx, n.ID, endpoint.Name, true); err != nil && !cerrdefs.IsNotFound(err) {
			return err
		}
	}
	return r.api.NetworkRemove(ctx, n.ID)
}
