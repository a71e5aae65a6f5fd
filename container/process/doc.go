// Package process is the container.Runtime for machines without a container
// engine: each instance is an ordinary, detached process from programs on the
// host, an image is a directory of programs.
//
// What it promises: an instance runs as an unprivileged user, can't gain
// privileges, outlives the daemon, and is found again by a record in Dir. As
// root each instance is the first process of a PID namespace of its own, so
// that its end is the end of all that it started, and a task without network
// has a network namespace of its own. What it does not promise is said by
// Capabilities: instances share the host's network and memory.
//
// A record is written before its process is started and names the process by
// ID, start time and boot, never by ID alone. A process whose record never got
// its ID, because the daemon died in between, is found by the mark in its
// environment.
package process
