// Package database is the contract between the control plane and what is
// particular to one database system: how to fill a volume from a source, what
// a data directory is, how to prepare and defuse it, how to start it, how to
// tell that it is ready, and how to give it credentials.
//
// An Engine holds no state: everything it needs is in the arguments. Work on
// data runs as tasks through the container.Runtime, as the user that owns the
// data; the exceptions are Inspect, the copying of a data directory on this
// host, and the small files that Prepare changes while nothing runs on the
// volume: they are opened directly, and no link is followed out of the volume.
//
// # Layout of a volume
//
//	<volume>/<DataDir>/      the data directory ("data" for volumes that we fill;
//	                         "." or a subdirectory for an in-place source)
//	<volume>/tblspc/<oid>/   tablespaces, linked relatively from pg_tblspc
//	<volume>/.cloned/        ours: pg_hba.conf, run/ (the admin socket), notes; made by Prepare
//
// # Errors
//
// Errors are *errs.Error with Phase set. Bad input is errs.Invalid (Field
// "source" or "settings"); a source or image that does not suit is
// errs.Precondition; a source that does not answer is errs.Unavailable; data
// that can't be trusted is errs.Corrupt; a full volume is errs.Exhausted.
package database

import (
	"context"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/internal/secret"
)

// Reasons of errors that callers act upon.
const (
	// ReasonNotADataDirectory: the directory holds no database of this engine.
	ReasonNotADataDirectory = "NOT_A_DATA_DIRECTORY"
	// ReasonRunning: a server runs on the directory to copy.
	ReasonRunning = "SOURCE_RUNNING"
	// ReasonVersion: the version is not supported, or not the image's.
	ReasonVersion = "VERSION_MISMATCH"
	// ReasonLinksOutside: links lead out of the data directory.
	ReasonLinksOutside = "LINKS_OUTSIDE"
	// ReasonSourceUnreachable: the source refused or went away.
	ReasonSourceUnreachable = "SOURCE_UNREACHABLE"
	// ReasonWrongInstance: what answered is not the instance that was asked for.
	ReasonWrongInstance = "WRONG_INSTANCE"
)

// SourceKind says where a golden's data comes from.
type SourceKind string

const (
	// SourceDirectory copies a stopped data directory on this host.
	SourceDirectory SourceKind = "directory"
	// SourceBaseBackup copies a running server through its replication protocol.
	SourceBaseBackup SourceKind = "basebackup"
	// SourceInPlace snapshots a dataset in which a foreign server writes. Nothing
	// is filled: the control plane clones a snapshot of it.
	SourceInPlace SourceKind = "inplace"
	// SourceClone is a clone. Nothing is filled: the control plane clones a
	// snapshot of it.
	SourceClone SourceKind = "clone"
)

// Source is where a golden's data comes from.
type Source struct {
	Kind SourceKind
	// Directory is an absolute path (SourceDirectory).
	Directory string
	// ConnInfo is a libpq connection string or URI without a password (SourceBaseBackup).
	ConnInfo string
	// Password is for ConnInfo, read from the golden's password file by the
	// caller; empty if none. Never logged, never in an error.
	Password secret.Text
}

// Facts is what Inspect finds out about a data directory.
type Facts struct {
	// Major is the database system's major version, e.g. 15.
	Major int
	// SystemID identifies the cluster across its copies.
	SystemID string
	// CleanShutdown says that no recovery is needed at the next start.
	CleanShutdown bool
	// Standby says that the directory was in recovery as somebody's standby.
	Standby bool
	// Owner owns the data directory; instances run as this user.
	Owner container.User
	// PreloadLibraries are those that the settings in the directory load.
	PreloadLibraries []string
	// Warnings are settings that would hurt and that preparation neutralises,
	// for people: absolute paths, archiving, missing libraries, ….
	Warnings []string
}

// Progress reports how far a phase is. Total is 0 while unknown. Both in bytes.
type Progress struct {
	Phase   string
	Message string
	Done    int64
	Total   int64
}

// Volume is where the engine works: a volume and how its processes run.
type Volume struct {
	// TaskID is a prefix for the IDs of tasks on this volume; unique and never
	// reused, at most 40 characters.
	TaskID string
	// Path is the volume's path on the host.
	Path string
	// DataDir is the data directory relative to Path.
	DataDir string
	Image   string
	Limits  container.Limits
}

// FillRequest asks to fill an empty volume.
type FillRequest struct {
	Volume Volume
	Source Source
	// Progress is called from time to time; never nil.
	Progress func(Progress)
}

// PrepareRequest asks to make a filled, or cloned in-place, volume harmless and
// quick to start.
type PrepareRequest struct {
	Volume Volume
	Facts  Facts
	// Vacuum also vacuums and freezes every database.
	Vacuum bool
	// Settings are the golden's own, as in StartRequest.
	Settings map[string]string
	Progress func(Progress)
}

// Prepared is what preparation found and did.
type Prepared struct {
	// Database is the one to connect to if the golden names none: the only user
	// database, else the largest.
	Database string
	// Databases are all that accept connections.
	Databases []string
	// SizeBytes is the sum of the databases' sizes.
	SizeBytes int64
	// PreloadLibraries are those that the image has and that do no harm: what
	// clones load.
	PreloadLibraries []string
	// Defused says, for people, each thing that was taken away.
	Defused []string
	// CanCount says that the image has what counts statements.
	CanCount bool
	// Parameters are start parameters that the data requires, such as
	// max_prepared_transactions; kept with the snapshot.
	Parameters map[string]string
}

// StartRequest asks how to start the database of a clone.
type StartRequest struct {
	ID      string // the instance's ID; readable by SQL in the instance
	Volume  Volume
	Runtime container.Runtime
	Facts   Facts
	// Prepared is that of the snapshot which the clone descends from.
	Prepared Prepared
	// Settings are the golden's: name to value, over ours, except those that
	// keep a clone harmless, which CheckSettings refuses.
	Settings map[string]string
	// CountStatements has the server count statements, if it can (Prepared.CanCount).
	CountStatements bool
	// Durable keeps fsync and full_page_writes on.
	Durable     bool
	PublishAddr string
	PublishPort int
}

// Target is a running instance as seen from the host.
type Target struct {
	ID         string
	VolumePath string
	DataDir    string // relative to VolumePath
	Addr       string
	Port       int
	Database   string
	Role       string
	Password   secret.Text
}

// File is a file of a volume in which something was written.
type File struct {
	// Path is relative to the volume.
	Path string
	// Bytes is how much was written, Size how long the file is.
	Bytes, Size int64
	// Created and Removed say that it was not there before, or is not any more.
	Created, Removed bool
}

// Relation is what files of a database belong to.
type Relation struct {
	Database string // empty for what belongs to all
	// Name has its schema.
	Name string
	// Kind is "table", "index", "sequence", "view" (materialized), "toast" (named
	// after its table), "catalog", or of what is no relation "dropped", "log" (of
	// transactions) or "other".
	Kind string
	// Bytes and Size are the sums of its files that were written.
	Bytes, Size int64
	// Created says that it was not there before, not that it was written anew in
	// another file, as by TRUNCATE. Removed is said of what is dropped only.
	Created, Removed bool
}

// Engine is one database system.
type Engine interface {
	// Name is the engine's name in configuration and metrics: "postgres".
	Name() string
	// DefaultImage is the image for a major version under the runtime.
	DefaultImage(runtime string, major int) string
	// Role is the role that users of clones log in as.
	Role() string
	// CheckSource validates a source without touching anything: form only.
	CheckSource(src Source) error
	// CheckSettings validates a golden's settings: errs.Invalid (field
	// "settings.NAME") for a name that is not a setting's, or one that we set to
	// keep clones harmless.
	CheckSettings(settings map[string]string) error
	// CheckImage returns errs.Precondition (ReasonVersion) unless the image
	// provides the major version. taskID is for the task that asks it.
	CheckImage(ctx context.Context, rt container.Runtime, taskID, image string, major int) error
	// Probe finds out what a source is before anything is made: its version and
	// size in bytes. For SourceDirectory it also refuses what Fill would refuse.
	Probe(ctx context.Context, src Source) (facts Facts, size int64, err error)
	// Inspect says what the data directory at the host path is. Links that lead
	// out of the volume are errs.Precondition (ReasonLinksOutside), listed.
	Inspect(ctx context.Context, volumePath, dataDir string) (Facts, error)
	// Fill fills an empty volume from a source.
	Fill(ctx context.Context, rt container.Runtime, req FillRequest) error
	// Prepare finishes recovery, defuses, creates the role, shuts down cleanly
	// and verifies it. It may be repeated on a fresh volume, not on its own result.
	Prepare(ctx context.Context, rt container.Runtime, req PrepareRequest) (Prepared, error)
	// Spec says how to start a clone's database. It does no I/O.
	Spec(req StartRequest) container.Spec
	// ReadAhead has the system fetch, in the background, what the first session
	// of the target's server will read. It is called while the server starts; it
	// is a hint, and nothing depends on it.
	ReadAhead(t Target)
	// Ready returns nil once the server at the target answers in its protocol on
	// the admin socket, which needs no credentials, and, if the target has a
	// password, has made it the role's. It is errs.Unavailable while the server
	// takes no sessions yet, and any other kind if asking again will not help.
	Ready(ctx context.Context, t Target) error
	// Claim returns once a login through the published port, with the target's
	// password, has read back the instance's own ID; errs.Conflict
	// (ReasonWrongInstance) if another one answered.
	Claim(ctx context.Context, t Target) error
	// Checkpoint flushes the instance's memory to its volume, through the admin
	// socket, so that what is cloned of it starts without recovery being long.
	Checkpoint(ctx context.Context, t Target) error
	// Relations says what files of the target's volume are, from the catalogs of
	// its running server: those of one relation as one. What no catalog knows
	// (any more) is named after its kind.
	Relations(ctx context.Context, t Target, files []File) ([]Relation, error)
	// ConnectionURL is the URL for users, with the password if t has one.
	ConnectionURL(t Target) string
}
