package rehearse

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// stopTime bounds the reading after the command.
const stopTime = 2 * time.Minute

// Run watches a server while a command runs, which is given a context that ends
// after the timeout; 0 means that it does not. Run returns when the command has
// returned, so it must heed its context.
//
// The command's failure, its running out of time and the end of ctx while it
// runs are part of the report: its exit code comes from an error that has one,
// such as exec.ExitError. An error of Run is one of Watch or Stop.
func Run(ctx context.Context, cfg *pgx.ConnConfig, timeout time.Duration, command func(context.Context) error, opts ...Option) (Report, error) {
	w, err := Watch(ctx, cfg, opts...)
	if err != nil {
		return Report{}, err
	}
	timed, cancel := ctx, context.CancelFunc(func() {})
	if timeout > 0 {
		timed, cancel = context.WithTimeout(ctx, timeout)
	}
	failure := command(timed)
	// The end of ctx may be just what made the command return.
	late := failure != nil && ctx.Err() == nil && timed.Err() != nil
	cancel()
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	r, err := w.Stop(stopping)
	r.outcome(failure)
	if late {
		r.TimedOut, r.ExitCode = true, -1
		r.Error = fmt.Sprintf("not finished within %v: %s", timeout, r.Error)
	}
	return r, err
}

// outcome writes down how the command ended.
func (r *Report) outcome(err error) {
	if err == nil {
		return
	}
	r.Error, r.ExitCode = err.Error(), -1
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) {
		r.ExitCode = exit.ExitCode()
	}
}
