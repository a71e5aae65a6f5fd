// Package process is the container.Runtime for machines without a container
// engine: each instance is an ordinary, detached process from programs on the
// host, an image is a directory of programs. Nobody but the daemon's wiring
// imports it.
//
// What it promises: an instance runs as an unprivileged user, can't gain
// privileges, outlives the daemon, and is found again by its record in Dir. As
// root each instance is the first process of a PID namespace of its own, so
// that its end is the end of all that it started, and a task without network
// has a network namespace of its own. For other users what an instance has
// started is found by the mark in its environment, and NetworkNone is not kept.
// What it promises to nobody is said by Capabilities: instances share the
// host's network, and no limit on memory, CPU or PIDs is enforced.
//
// # Records
//
//	Dir/ID.json   what runs, or ran, as the instance or task ID
//	Dir/ID.log    its standard output and error
//
// A record is written before its process is started and names the process by
// PID, start time and boot, never by PID alone. A process whose record never
// got its PID, because the daemon died in between, is found by the mark in its
// environment, CLONED_INSTANCE=<installation>/<ID>. Signals go through a pidfd,
// so that they can't reach another process that was given the PID since.
//
// One process at a time owns a Dir: the daemon holds a lock on its state
// directory.
//
// Where a service manager runs the daemon it must leave the daemon's other
// processes alone when it stops it: KillMode=process for systemd.
package process
