// Package container is the contract between the control plane and what runs
// databases: Docker Engine, or plain processes. It holds the Runtime interface
// and its types; package containertest holds the conformance suite that every
// runtime passes for real.
//
// # Vocabulary
//
// An instance is a database process with its surroundings, known by an ID that
// the caller chooses and never uses for anything else. A task is a command run
// to its end on a volume. An image is what provides the programs: an OCI image
// reference for Docker, a directory of executables for plain processes.
//
// # Guarantees
//
//   - There is at most one instance for an ID. It is found by its label (the
//     instance ID of the daemon, the instance's own ID), never by its name:
//     what does not bear our labels is not stopped, removed or reused.
//   - Instances outlive the process that started them.
//   - Start, Stop and Remove are idempotent; Remove of an absent instance is
//     success.
//   - List returns everything that bears our labels or an error, never part of it.
//   - Nothing but List takes time in proportion to the number of instances.
//   - No connection leaves an instance: not to the outside, to the host, or to
//     another instance. Where a runtime can't promise that (Capabilities), it
//     says so.
//
// # Errors
//
// Errors are *errs.Error: errs.Unavailable when the engine does not answer
// (retryable), errs.Precondition with ReasonImageMissing when an image is absent
// and can't be had, errs.Exhausted with ReasonPortTaken when the published port
// is taken, errs.NotFound only when the instance is certainly absent,
// errs.Precondition with ReasonExited (and the last log lines in Log) when an
// instance ended while it was waited for.
//
// # Example
//
//	spec := container.Spec{ID: "c-1-1", Image: "postgres:15", Volume: vol.Path, …}
//	_ = rt.Start(ctx, spec)
//	_ = rt.WaitReady(ctx, spec.ID, func(ctx context.Context) error { return ping(ctx) })
//	_ = rt.Stop(ctx, spec.ID, 10*time.Second)
//	_ = rt.Remove(ctx, spec.ID)
package container

import (
	"context"
	"io"
	"time"
)

// Reasons of errors that callers act upon.
const (
	// ReasonExited: the instance's process has ended.
	ReasonExited = "INSTANCE_EXITED"
	// ReasonPortTaken: something else listens on the port to publish.
	ReasonPortTaken = "PORT_TAKEN"
	// ReasonImageMissing: the image is absent and can't be had.
	ReasonImageMissing = "IMAGE_MISSING"
	// ReasonNotIsolated: what keeps instances from connecting to the host and
	// beyond can't be set up or is not in force.
	ReasonNotIsolated = "NOT_ISOLATED"
	// ReasonTaskFailed: a task ended with an exit code other than 0.
	ReasonTaskFailed = "TASK_FAILED"
)

// Limits bounds what an instance or task may use; 0 means the runtime's default.
type Limits struct {
	MemoryBytes int64
	// CPUs in cores, e.g. 1.5.
	CPUs float64
	// PIDs is the largest number of processes and threads.
	PIDs int64
	// ShmBytes is the size of /dev/shm.
	ShmBytes int64
}

// User is the numeric identity that a process runs as.
type User struct{ UID, GID int }

// Spec says what an instance is.
type Spec struct {
	// ID is 1 to 63 of a-z, 0-9 and "-", never reused.
	ID string
	// Image provides the programs.
	Image string
	// Argv is the command; Argv[0] is looked up in the image.
	Argv []string
	// Env is added to the image's environment, "KEY=value".
	Env []string
	// Volume is the host path of the volume; the process sees it at
	// Runtime.VolumePath(Volume).
	Volume string
	User   User
	Limits Limits
	// PublishAddr and PublishPort are where the host offers the instance's
	// port. The process listens where Runtime.Listen says.
	PublishAddr string
	PublishPort int
	// Port is the port that the database listens on inside, e.g. 5432.
	Port int
	// StopSignal asks the process to end, e.g. "SIGINT".
	StopSignal string
}

// Network says what a task may reach.
type Network int

const (
	// NetworkNone: the task reaches nothing.
	NetworkNone Network = iota
	// NetworkHost: the task reaches what the host reaches. Only for tasks that
	// fill a volume from a source; never with data that has been started.
	NetworkHost
)

// Task is a command that runs to its end.
type Task struct {
	// ID as in Spec. A task that is still there from a process that died is
	// shown by List with Task set.
	ID      string
	Image   string
	Argv    []string
	Env     []string
	Volume  string // host path; empty for a task without a volume
	User    User
	Limits  Limits
	Network Network
	// Output, if set, is called for each line that the task prints on standard
	// output or standard error, without the line's end (\n or \r) and unless it
	// is empty; in order within each of the two.
	Output func(line string)
}

// State is what an instance is doing.
type State int

const (
	// Created: made and not started yet.
	Created State = iota
	// Running: its process runs; it need not be ready.
	Running
	// Exited: its process has ended.
	Exited
	// Frozen: its processes are stopped where they are; see Runtime.Freeze.
	Frozen
)

// Instance describes an instance as observed.
type Instance struct {
	ID    string
	Task  bool
	State State
	// ExitCode and OOMKilled are set in state Exited; ExitCode is 128 and the
	// signal's number for a process that was killed, and -1 if nobody saw how
	// it ended.
	ExitCode  int
	OOMKilled bool
	// Started is when its process last started; zero if never. List may leave
	// it zero while the process runs.
	Started time.Time
}

// Capabilities says what a runtime promises beyond the contract.
type Capabilities struct {
	// Isolated: no new connection leaves an instance.
	Isolated bool
	// Limits: memory, CPU and PID limits are enforced.
	Limits bool
	// OwnShm: an instance has a /dev/shm of its own, which ends with it.
	OwnShm bool
}

// Event says that something happened to an instance; look at it again.
type Event struct{ ID string }

// Runtime is a container backend. See the package comment for what all its
// methods guarantee.
type Runtime interface {
	// Name is the runtime's name in configuration and metrics: "docker", "process".
	Name() string
	Capabilities() Capabilities

	// Setup makes what all instances share (the network, the packet filter's
	// rules) or finds it again, and mends it. Called at start and in each
	// reconciliation, so it is cheap when there is nothing to do.
	Setup(ctx context.Context) error
	// Teardown removes what Setup made. While instances or tasks are left it
	// removes nothing and returns errs.Precondition.
	Teardown(ctx context.Context) error
	// CheckSetup returns nil if what Setup makes is in place, else what is not
	// (ReasonNotIsolated where a connection could leave an instance). It looks,
	// and mends nothing.
	CheckSetup(ctx context.Context) error
	// Check returns nil if the backend answers, else why not.
	Check(ctx context.Context) error

	// EnsureImage sees to it that the image is there, by pulling it if need be,
	// and returns its immutable identity.
	EnsureImage(ctx context.Context, image string) (id string, err error)
	// FindImage returns the image's immutable identity if it is there;
	// errs.Precondition (ReasonImageMissing) if it is not. It pulls nothing.
	FindImage(ctx context.Context, image string) (id string, err error)
	// DefaultUser is who owns the data in volumes filled from nothing.
	DefaultUser() User
	// VolumePath is where a process sees a volume that is at the host path.
	VolumePath(hostPath string) string
	// Listen is the address and port on which the process of spec has to listen
	// to be reached at the published address and port.
	Listen(spec Spec) (addr string, port int)

	// Start returns when the instance's process runs. One that runs already is
	// left as it is, whatever spec says; one that is frozen is thawed; one that
	// has exited is started again, as spec says now. With nothing listening yet it is not an error. If it
	// fails, it leaves nothing behind that List would not show. Where the
	// runtime promises isolation and can't give it now, it starts nothing
	// (ReasonNotIsolated).
	Start(ctx context.Context, spec Spec) error
	// WaitReady calls probe every few milliseconds until it returns nil. It
	// returns errs.Precondition (ReasonExited) as soon as the process ends, and
	// errs.Unavailable with probe's last error when ctx does.
	WaitReady(ctx context.Context, id string, probe func(context.Context) error) error
	// Inspect describes one instance; errs.NotFound if it is absent.
	Inspect(ctx context.Context, id string) (Instance, error)
	// Stop asks the process to end with the signal of its Spec, and kills it
	// after grace. The instance stays, with its log, in state Exited.
	// errs.NotFound if it is absent.
	Stop(ctx context.Context, id string, grace time.Duration) error
	// Freeze stops all processes of a running instance where they are, and
	// returns when none of them runs: until Thaw, nothing is written to its
	// volume. One that is frozen is left so; errs.Precondition (ReasonExited) if
	// it has exited, errs.NotFound if it is absent. A frozen instance answers
	// nobody, its connections wait. Stop and Remove work on it.
	Freeze(ctx context.Context, id string) error
	// Thaw lets a frozen instance go on. One that is not frozen is left as it
	// is; errs.NotFound if it is absent.
	Thaw(ctx context.Context, id string) error
	// Remove kills the process if it still runs, and all that it started, and
	// removes the instance, or task, and its System V shared memory.
	Remove(ctx context.Context, id string) error
	// List describes every instance and task that bears our labels.
	List(ctx context.Context) ([]Instance, error)
	// Logs writes the instance's last tail lines (all if tail < 0) to w, and
	// with follow goes on until the instance ends or ctx does: neither is an
	// error. Very long logs lose their beginning.
	Logs(ctx context.Context, id string, tail int, follow bool, w io.Writer) error
	// Run runs a task to its end and removes it. An exit code other than 0 is
	// errs.Precondition (ReasonTaskFailed) with the last lines in Log. When ctx
	// ends the task is killed, and the error wraps the context's. errs.Exists if
	// something bears the task's ID.
	Run(ctx context.Context, task Task) error
	// Events reports what happens to instances until ctx ends: at the least,
	// each instance that exited by itself, within two seconds. The channel is
	// closed when ctx ends; an event may be repeated, and some may be lost while
	// the backend is away (the caller also lists now and then).
	Events(ctx context.Context) <-chan Event
	// Close releases what the runtime holds in this process; instances stay.
	Close() error
}
