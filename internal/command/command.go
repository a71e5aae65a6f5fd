// Package command runs the outside commands of the storage drivers: no shell,
// a context, the C locale, the duration reported, standard error kept in the
// error.
package command

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Observer is told of each command that ran: for metrics. verb is bounded, such
// as "clone" of "zfs clone".
type Observer func(tool, verb string, took time.Duration, err error)

// Runner runs commands. The zero value works and reports to nobody.
type Runner struct {
	Observe Observer
	// Limit is how long a command may take whose context has no deadline; 0 for two
	// minutes.
	Limit time.Duration
}

// Error is a command that could not be run or ended with another code than 0.
type Error struct {
	Argv []string
	// ExitCode is -1 if the command did not run or was killed.
	ExitCode int
	Stderr   string
	Err      error
}

// Error returns the command's first words, how it ended and what it said.
func (e *Error) Error() string {
	said := strings.TrimSpace(e.Stderr)
	if said == "" {
		return fmt.Sprintf("%s: %v", strings.Join(e.Argv, " "), e.Err)
	}
	return fmt.Sprintf("%s: %v: %s", strings.Join(e.Argv, " "), e.Err, said)
}

// Unwrap returns the cause: an *exec.ExitError, or the context's error.
func (e *Error) Unwrap() error { return e.Err }

// grace is how long a killed command may take to be gone.
const grace = time.Second

// drain is how long the output of a command that has ended may take to be read.
// On a machine with more to do than it can, a second is not enough.
const drain = 15 * time.Second

// limit is how long a command may take whose caller sets no limit of its own: one
// that hangs must not hold anybody for ever.
const limit = 2 * time.Minute

// Limited is ctx with an end: after the Runner's Limit, if it has none.
func (r *Runner) Limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, cmp.Or(r.Limit, limit))
}

// Run runs argv to its end and returns its standard output. verb names it for
// the Observer. When ctx ends the command is killed and the error wraps the
// context's; one that can't be killed now, because the kernel holds it, is left
// behind. A ctx without a deadline gets one (Limited). Any failure is an *Error.
func (r *Runner) Run(ctx context.Context, verb string, argv ...string) ([]byte, error) {
	return r.run(ctx, verb, argv, false)
}

// Read is Run for a command that only reads and whose answer must be whole: a
// word on standard error is a failure, whatever the exit code. zfs(8), for one,
// reports there that it broke a list off, and exits with 0.
func (r *Runner) Read(ctx context.Context, verb string, argv ...string) ([]byte, error) {
	return r.run(ctx, verb, argv, true)
}

// Stream is Read for an answer that is too long to be kept: consume reads it
// while it comes, to its end or until an error, which breaks the command off and
// is returned.
func (r *Runner) Stream(ctx context.Context, verb string, consume func(io.Reader) error, argv ...string) error {
	ctx, cancel := r.Limited(ctx)
	defer cancel()
	out, in := io.Pipe()
	consumed := make(chan error, 1)
	go func() {
		err := consume(out)
		consumed <- err
		out.CloseWithError(cmp.Or(err, errConsumed))
	}()
	var refused error
	_, err := r.observe(ctx, verb, argv, true, func() ([]byte, []byte, error) {
		stderr, err := execute(ctx, argv, in)
		select {
		case refused = <-consumed: // before the end of the output
		default:
			// What is broken off must not look like the end.
			in.CloseWithError(cmp.Or(err, io.EOF))
			if refused = <-consumed; err != nil {
				refused = nil // for that reason
			}
		}
		return nil, stderr, err
	})
	return cmp.Or(refused, err)
}

// errConsumed is what a command's output meets when nobody reads it any more.
var errConsumed = errors.New("its output was not read to the end")

func (r *Runner) run(ctx context.Context, verb string, argv []string, strict bool) ([]byte, error) {
	ctx, cancel := r.Limited(ctx)
	defer cancel()
	return r.observe(ctx, verb, argv, strict, func() ([]byte, []byte, error) {
		var out bytes.Buffer
		stderr, err := execute(ctx, argv, &out)
		if errors.Is(err, errAbandoned) {
			return nil, nil, err
		}
		return out.Bytes(), stderr, err
	})
}

func (r *Runner) observe(ctx context.Context, verb string, argv []string, strict bool, do func() (stdout, stderr []byte, err error)) ([]byte, error) {
	begin := time.Now()
	stdout, stderr, err := do()
	if err == nil && strict && len(stderr) > 0 {
		err = errors.New("it exited with 0 but complained")
	}
	if err != nil {
		code := -1
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		err = &Error{Argv: argv, ExitCode: code, Stderr: string(stderr), Err: err}
	}
	if r.Observe != nil {
		r.Observe(argv[0], verb, time.Since(begin), err)
	}
	return stdout, err
}

// errAbandoned is for a command that could not be killed: it still writes.
var errAbandoned = errors.New("it can't be killed")

func execute(ctx context.Context, argv []string, out io.Writer) (stderr []byte, err error) {
	var complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = out, &complaints
	// A grandchild that keeps the pipes open must not keep us waiting.
	cmd.WaitDelay = drain

	ended := make(chan error, 1)
	go func() { ended <- cmd.Run() }()
	select {
	case err = <-ended:
		return complaints.Bytes(), err
	case <-ctx.Done():
	}
	select {
	case err = <-ended:
		return complaints.Bytes(), err
	case <-time.After(2 * grace):
		// The buffers still belong to the command.
		return nil, errAbandoned
	}
}
