// Package docker is the container.Runtime on Docker Engine, 20.10 or later, that
// runs on this host. Nobody but the daemon's wiring imports it.
//
// # What there is, for the installation "i"
//
//	container  cloned-i-ID   labels io.cloned.instance=i, io.cloned.id=ID,
//	                         io.cloned.kind=instance or task
//	network    cloned-i      a bridge on the interface cl-i, labelled likewise
//	nftables   table inet cloned-i, table bridge cloned-i
//
// Containers are found by their labels: one with our name and without our
// labels is never touched. A container that somebody renamed is shown by List
// and found by nothing else; the port that it holds keeps a second one from
// starting on its volume.
//
// # Isolation
//
// Docker alone does not keep a container from connecting to the host, to what
// the host reaches, or (where the kernel filters no bridged traffic) to its
// neighbours, so the rules are ours (fence.go): in a table of our own that
// Docker does not touch, found again by its name, looked at before each start
// and mended when something is missing. If they can't be set, or do not concern
// the engine because it runs in another network namespace, nothing is started.
// Docker's name server would pass questions on to the host's: it is given the
// container's own loopback to ask instead, where nobody answers.
//
// What remains: the names and addresses of its neighbours, which the engine's
// name server tells; and, if this host is itself a virtual machine, sockets of
// the family AF_VSOCK to its hypervisor, which belong to no network namespace
// and which Docker's seccomp profile denies from Engine 23.0 on.
//
// A bridge of Linux has 1,023 ports, so that many instances can run at a time.
package docker
