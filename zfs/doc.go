// Package zfs is the storage.Driver on OpenZFS 2.1 to 2.3: the one that cloned
// is made for.
//
// What lives here: the translation between the contract's IDs and datasets,
// the few commands of zfs(8) behind each method, and the reading of what those
// commands answer. What must not: any opinion on which volume should exist.
//
// # Layout
//
// Every volume is a dataset directly under one parent dataset that the operator
// names, so that a volume's path follows from the parent's mount point and
// nothing has to be looked up for it:
//
//	tank/cloned                            the parent
//	tank/cloned/g-1                        volume g-1, at /tank/cloned/g-1
//	tank/cloned/g-1@cloned-<instance>-s-1  its snapshot s-1
//	tank/cloned/c-7-1                      a clone of it
//	tank/cloned/c-7-1@cloned-<instance>-_changed
//	                                       for the time of a comparison
//	tank/replica@cloned-<instance>-s-3     snapshot s-3 of the foreign dataset tank/replica
//
// # Birth mark
//
// Whatever the driver creates bears the user property "cloned:instance" with
// the instance's ID, given with -o to the very command that creates it. ZFS
// lets children and snapshots inherit user properties, and a received stream
// carries them along, so only a value whose source is "local" counts. For a new
// file system ZFS itself works in two steps, and may die between them: see
// unfinished.
//
// # Absent, or out of sight
//
// ZFS says "dataset does not exist" of a dataset whose pool is exported or
// whose parent was renamed, and leaves out of a list, with exit code 0, what it
// could not reach. Neither may be taken for a volume that vanished. See fence.
//
// # What the daemon needs around it
//
// The daemon must run as root, in the mount namespace in which the container
// engine runs: a volume that is mounted in a private namespace (systemd makes
// one for PrivateTmp=, ProtectSystem=, ReadWritePaths= and the like) is an
// empty directory for everybody else.
//
// Changed and ChangedBetween look into snapshots below .zfs/snapshot, which the
// kernel mounts for them: the property snapdir may be hidden, but not disabled. They
// need Linux 5.6 (openat2).
package zfs
