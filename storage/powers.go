package storage

import (
	"context"

	"github.com/cloned-db/cloned/errs"
)

// HealthReporter is what a driver may be beside a Driver: one that knows the
// state of the devices below its pool.
type HealthReporter interface {
	// Health returns "ONLINE" if all is well, otherwise the state in the
	// filesystem's own words.
	Health(ctx context.Context) (string, error)
}

// Online is the Health of a pool with which all is well.
const Online = "ONLINE"

// Quota is what a driver may be beside a Driver: one that can bound what a volume
// takes.
type Quota interface {
	// CloneWithin is Driver.Clone of a volume that can grow by so many bytes, as the
	// filesystem counts them (compressed, where it compresses), and no more: then
	// whoever writes to it gets an error (ENOSPC or EDQUOT), and no other volume does.
	// A bound of less than 1 is errs.Invalid.
	CloneWithin(ctx context.Context, from SnapshotRef, id string, bytes int64) (Volume, error)
}

// Differ is what a driver may be beside a Driver: one whose filesystem knows
// which files were written since a snapshot, without looking at the others. It
// takes time in proportion to what changed, and to the directories in which
// names came or went.
//
// The snapshot since must be an ancestor: a snapshot of the volume itself, the
// one it was cloned from, an older one of that one's volume, and so on up the
// chain; for anything else the error is errs.Precondition (ReasonNotAncestor).
// errs.NotFound if either end is absent.
//
// Files are everything but directories, ordered by path. What was only read is
// not listed. A file that was replaced by another of the same name counts as
// written; one that was moved, alone or with its directory, as removed there and
// created here; one that has lost its last name and is still open, as removed. A
// file with several names may be listed under one of them.
type Differ interface {
	// Changed compares a volume, as it is now, with a snapshot. What programs
	// wrote counts, forced to disk or not. It counts as a call for the volume's
	// ID: only one may run at a time.
	Changed(ctx context.Context, since SnapshotRef, volume string) ([]FileChange, error)
	// ChangedBetween compares a snapshot with an older one.
	ChangedBetween(ctx context.Context, since, until SnapshotRef) ([]FileChange, error)
}

// FileChange is a file that is not as it was.
type FileChange struct {
	// Path is relative to the volume's root, in its shortest form; what bytes
	// it consists of is up to who named the file.
	Path string
	// Bytes is how much of the file is written anew, in whole blocks where the
	// filesystem has them, before compression; 0 if only its attributes, its
	// length or its name changed, and for one that was removed.
	Bytes int64
	// Size is how long the file is now; 0 for one that was removed.
	Size int64
	// Created says that there was no file of this path, Removed that there is
	// none any more.
	Created, Removed bool
}

// NotAncestor is the error of a Differ whose ends don't descend from each other.
func NotAncestor(since SnapshotRef, until string) error {
	return errs.New(errs.Precondition, ReasonNotAncestor, "%s does not descend from snapshot %s of %s",
		until, since.ID, since.Source.Volume+since.Source.Foreign).
		WithHint("name a snapshot of it, or one on the way to where it was cloned from")
}
