// Package btrfs is the storage driver on btrfs: a volume is a subvolume, a
// snapshot a read-only snapshot of one, a clone a writable snapshot of that. It
// needs root. It also makes and mounts a pool in a sparse file, for machines
// without a btrfs of their own (EnsurePool).
//
// # Layout
//
//	<Root>/<instance>/v/<volume>               a volume: its Path
//	<Root>/<instance>/s/<volume>/<snapshot>    a snapshot of a volume
//	<Root>/<instance>/f/<path>/<snapshot>      a snapshot of a foreign subvolume
//	<Root>/<instance>/t/<volume>               a snapshot for the time of a comparison
//
// where <path> is the foreign subvolume's, escaped as in a URL. Its snapshots
// live with us because nothing is written into it. The instance in the path is
// the birth mark: the ioctl that makes a subvolume gives it its name. What has
// such a name and is not a subvolume (or, as a snapshot, is writable) is not
// ours.
//
// # Commands
//
// There are none: the driver makes the ioctls of linux/btrfs.h itself, the same
// that the btrfs command makes. That saves a process on the way of a clone, and
// the kernel's error numbers tell faults apart better than a command's words do.
// The command.Runner is told of them as if they were commands. An ioctl can't be
// broken off; each takes milliseconds, because it waits for the filesystem to
// commit: what was made is on disk when the call returns.
//
// # Limits
//
// Where a clone came from is its parent's UUID, which only List turns into a
// name. A snapshot can be destroyed while clones of it live. Destroying takes
// effect at once, but the space comes back in the background, after up to two
// commits of the filesystem (10 s in a pool that EnsurePool mounted, a minute by
// btrfs's own default). Asking for a commit each time is worse: it would write out
// what all clones have in memory, or (BTRFS_IOC_START_SYNC) was seen to stall for
// half a minute.
//
// What changed since a snapshot is found by generation numbers. Whether one state
// came from another shows in the UUIDs of the subvolumes on the way between them:
// with one of those destroyed it can't be told any more.
//
// Snapshots of something that is being written contain what was forced to disk
// (fsync); a program that runs without that gets no order among its writes.
package btrfs
