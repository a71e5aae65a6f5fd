// Package tree works on whole directory trees on one filesystem: copy one
// (sharing its blocks where the filesystem can), measure what it takes, remove
// it.
//
// A tree may belong to somebody who changes it meanwhile, and who must not get
// us to read or write elsewhere: sources are walked through os.Root and no
// symbolic link in them is followed. What a copy is written to must be out of
// the reach of others.
//
// It knows nothing of volumes and snapshots. An external cp is not used because
// it would live on, writing, when the daemon is killed.
package tree
