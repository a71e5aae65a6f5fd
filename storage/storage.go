// Package storage is the contract between the control plane and a
// copy-on-write filesystem. It holds the Driver interface, the identities it
// deals in, and (in package storagetest) the conformance suite that every
// driver passes on the real filesystem.
//
// # Vocabulary
//
// A volume is a writable directory tree that a driver made under its root. A
// snapshot is an immutable state of one volume. A clone of a snapshot is a
// volume whose content is the snapshot's until written to. A foreign dataset is
// a filesystem that somebody else made and writes: the driver may snapshot it
// in place, and touches nothing else in it.
//
// # Guarantees
//
//   - Creating calls (Create, Snapshot, Clone) are idempotent: the same call
//     with the same arguments again succeeds and returns the same thing. With
//     an ID taken by something else they return errs.Exists.
//   - Destroying calls succeed when there is nothing to destroy. They destroy
//     only what bears this driver's mark: the instance ID, written by the very
//     command that creates the thing, never inherited.
//   - A call that fails, or a process that dies in the middle of one, leaves
//     either the whole thing or none of it. Where building a thing takes many
//     steps, what a died process left is never shown as a volume or snapshot;
//     the next call for the same ID clears it away, and so does opening the
//     driver again.
//   - List returns everything owned or an error, never part of it.
//   - Nothing but List takes time in proportion to the number of volumes.
//   - All methods may be called at the same time for different IDs; for one ID
//     the caller sees to it that only one call runs at a time.
//
// # Errors
//
// Errors are *errs.Error. errs.NotFound only when the object is certainly
// absent; errs.Precondition with reason ReasonHasDependents when a destroy
// finds clones; errs.Exhausted when the pool is full; errs.Unavailable when the
// filesystem's tools do not answer or the dataset is busy. A message that a
// driver does not recognise becomes errs.Internal, never another kind.
//
// # Example
//
//	vol, _ := d.Create(ctx, "g-1")                          // an empty volume
//	// … fill vol.Path …
//	snap, _ := d.Snapshot(ctx, storage.Own("g-1"), "ready")  // freeze it
//	work, _ := d.Clone(ctx, snap.Ref, "c-1-1")               // a thin, writable copy at work.Path
//	_ = d.Destroy(ctx, "c-1-1")
//	_ = d.DestroySnapshot(ctx, snap.Ref)
//	_ = d.Destroy(ctx, "g-1")
package storage

import (
	"context"
	"regexp"
	"time"

	"github.com/cloned-db/cloned/errs"
)

// Reasons of errors that callers act upon.
const (
	// ReasonHasDependents: the snapshot or volume has clones; destroy them first.
	ReasonHasDependents = "HAS_DEPENDENTS"
	// ReasonPoolFull: no space is left for the operation.
	ReasonPoolFull = "POOL_FULL"
	// ReasonForeign: the object exists but does not bear our mark.
	ReasonForeign = "FOREIGN"
	// ReasonNotAncestor: the one state did not come from the other.
	ReasonNotAncestor = "NOT_ANCESTOR"
)

// idPattern is what volume and snapshot IDs look like: safe as a path element,
// a ZFS dataset component and a Docker name.
var idPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// CheckID returns errs.Invalid if id can't name a volume or a snapshot: 1 to 63
// of a-z, 0-9 and "-", not starting with "-".
func CheckID(id string) error {
	if !idPattern.MatchString(id) {
		return errs.New(errs.Invalid, "INVALID_ID", "storage ID %q: must be 1 to 63 of a-z, 0-9 and -, not starting with -", id)
	}
	return nil
}

// Source says whose state a snapshot holds: exactly one of the fields is set.
type Source struct {
	// Volume is the ID of a volume of the driver.
	Volume string
	// Foreign is the driver's own name of a foreign dataset: a ZFS dataset
	// ("tank/replica") or the absolute path of a btrfs subvolume.
	Foreign string
}

// Own is the Source of one of the driver's volumes.
func Own(volume string) Source { return Source{Volume: volume} }

// Check returns errs.Invalid unless exactly one field is set and a Volume is a
// valid ID. What a Foreign name looks like only its driver knows.
func (s Source) Check() error {
	if (s.Volume == "") == (s.Foreign == "") {
		return errs.New(errs.Invalid, "INVALID_SOURCE", "storage source %+v: exactly one of volume and foreign must be set", s)
	}
	if s.Foreign != "" {
		return nil
	}
	return CheckID(s.Volume)
}

// SnapshotRef identifies a snapshot.
type SnapshotRef struct {
	Source Source
	// ID is unique within the source.
	ID string
}

// Check returns errs.Invalid unless the source and the ID are valid.
func (r SnapshotRef) Check() error {
	if err := r.Source.Check(); err != nil {
		return err
	}
	return CheckID(r.ID)
}

// Volume describes a volume.
type Volume struct {
	ID string
	// Path is the directory at which the host sees the volume's content. It
	// stays the same for the life of the volume.
	Path string
	// Origin is the snapshot that the volume was cloned from; nil if it was
	// created empty or the driver can't tell (see Capabilities.Origins).
	Origin *SnapshotRef
	// Created is when it was made.
	Created time.Time
}

// Snapshot describes a snapshot.
type Snapshot struct {
	Ref     SnapshotRef
	Created time.Time
}

// Usage is what a volume or snapshot costs, in bytes.
type Usage struct {
	// Unique is what only this object holds: what destroying it would free.
	Unique int64
	// Logical is the size of the content as its reader sees it.
	Logical int64
}

// Space is the state of the pool, in bytes.
type Space struct {
	Total, Free int64
}

// Capabilities says what a driver can do beyond the contract.
type Capabilities struct {
	// Thin: a clone takes no time or space in proportion to its content.
	Thin bool
	// Foreign: Snapshot takes a foreign Source.
	Foreign bool
	// Origins: List fills Volume.Origin, as long as the snapshot exists. (Stat
	// need not: on some filesystems that takes a look at all snapshots.)
	Origins bool
	// Atomic: Snapshot freezes one moment even while programs write, in which
	// whatever they had forced to disk (fsync) by then is contained. Without it
	// nothing may write to the volume meanwhile.
	Atomic bool
	// Ordered: that moment is one of all writes, forced to disk or not: what was
	// written is in the snapshot if anything is that was written after it.
	Ordered bool
}

// Inventory is all that a driver owns.
type Inventory struct {
	Volumes   []Volume
	Snapshots []Snapshot
}

// Driver is a filesystem backend. See the package comment for what all its
// methods guarantee, and HealthReporter and Differ for what it may
// be besides.
type Driver interface {
	// Name is the driver's name in configuration and metrics: "zfs", "btrfs", "dir".
	Name() string
	// Capabilities says what it can do. It does not change.
	Capabilities() Capabilities

	// Create makes an empty volume.
	Create(ctx context.Context, volume string) (Volume, error)
	// Snapshot freezes the present state of src (see Capabilities.Atomic). It
	// does not flush what a program holds in memory.
	Snapshot(ctx context.Context, src Source, id string) (Snapshot, error)
	// Clone makes a writable volume with the content of the snapshot.
	// errs.NotFound if there is no such snapshot.
	Clone(ctx context.Context, from SnapshotRef, volume string) (Volume, error)
	// Destroy destroys a volume and whatever a call that died left of it. It
	// does not destroy its snapshots: with any left it returns
	// errs.Precondition (ReasonHasDependents) and changes nothing.
	Destroy(ctx context.Context, volume string) error
	// DestroySnapshot destroys a snapshot; errs.Precondition
	// (ReasonHasDependents) while volumes descend from it, on drivers for which
	// that matters.
	DestroySnapshot(ctx context.Context, ref SnapshotRef) error
	// Stat describes one volume; errs.NotFound if it is absent. A volume that
	// exists and is not usable (not mounted after a reboot) is made usable.
	Stat(ctx context.Context, volume string) (Volume, error)
	// List describes everything that bears this driver's mark, including our
	// snapshots in the foreign datasets named, or returns an error.
	List(ctx context.Context, foreign []string) (Inventory, error)
	// Usage says what a volume takes. It may be a few seconds old.
	Usage(ctx context.Context, volume string) (Usage, error)
	// SnapshotUsage says what a snapshot takes: of its content, Unique is what
	// neither its volume has any more, nor another snapshot or clone. It may be a
	// few seconds old. errs.NotFound if the snapshot is absent.
	SnapshotUsage(ctx context.Context, ref SnapshotRef) (Usage, error)
	// Space says how full the pool is.
	Space(ctx context.Context) (Space, error)
	// ForeignPath returns the directory at which the host sees a foreign
	// dataset; errs.Invalid (field "source") if it does not exist, is not
	// mounted, or lies in another pool than the driver's, and on drivers
	// without the capability Foreign.
	ForeignPath(ctx context.Context, name string) (string, error)
}
