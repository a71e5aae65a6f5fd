// Package command runs the outside commands of the storage drivers: no shell,
// a context, the C locale, the duration reported, standard error kept in the
// error.
package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// Run runs argv to its end and returns its standard output. verb names it for
// the Observer. When ctx ends the command is killed and the error wraps the
// context's; one that can't be killed now, because the kernel holds it, is left
// behind. Any failure is an *Error.
func (r *Runner) Run(ctx context.Context, verb string, argv ...string) ([]byte, error) {
	return r.run(ctx, verb, argv, false)
}

// Read is Run for a command that only reads and whose answer must be whole: a
// word on standard error is a failure, whatever the exit code. zfs(8), for one,
// reports there that it broke a list off, and exits with 0.
func (r *Runner) Read(ctx context.Context, verb string, argv ...string) ([]byte, error) {
	return r.run(ctx, verb, argv, true)
}

func (r *Runner) run(ctx context.Context, verb string, argv []string, strict bool) ([]byte, error) {
	begin := time.Now()
	stdout, stderr, err := execute(ctx, argv)
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

func execute(ctx context.Context, argv []string) (stdout, stderr []byte, err error) {
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = &out, &complaints
	// A grandchild that keeps the pipes open must not keep us waiting.
	cmd.WaitDelay = drain

	ended := make(chan error, 1)
	go func() { ended <- cmd.Run() }()
	select {
	case err = <-ended:
		return out.Bytes(), complaints.Bytes(), err
	case <-ctx.Done():
	}
	select {
	case err = <-ended:
		return out.Bytes(), complaints.Bytes(), err
	case <-time.After(2 * grace):
		// The buffers still belong to the command.
		return nil, nil, ctx.Err()
	}
}
