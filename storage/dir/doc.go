// Package dir is the storage driver for any directory: a volume or snapshot is
// a directory tree, a clone is a copy of one. Where the filesystem can share
// blocks between files (reflinks: XFS, btrfs and others) copies take time in
// proportion to the number of files and next to no space, and the driver says
// that it is thin. Otherwise they are full copies. It needs no privileges; who
// is not root owns all that he copies.
//
// # Layout
//
//	<Root>/<instance>/v/<volume>/data              a volume's content: its Path
//	<Root>/<instance>/v/<volume>/origin            a clone's origin: a link to its snapshot's place
//	<Root>/<instance>/s/<volume>/<snapshot>/data   a snapshot's content
//	<Root>/<instance>/tmp/                         what is being built or removed
//
// The instance in the path is the birth mark. A volume or snapshot is built in
// tmp and appears, complete, by a rename; destroyed, it leaves by a rename
// first. So what a died process left is in tmp, under a name that tells whose
// it is: the next call for the same ID clears it away, and so does Open.
//
// # Limits
//
// A copy takes its time, so a snapshot is of one moment only if nothing writes
// to the volume meanwhile (Capabilities.Atomic is false), and foreign datasets,
// which others write to, are not taken. A snapshot is on disk when Snapshot
// returns; a clone need not be, and one made in the last seconds before a power
// failure may have lost content.
package dir
