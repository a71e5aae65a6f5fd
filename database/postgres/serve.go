package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// maxAttempts bounds how often a server is started to learn what it does not
// take: it reports bad settings all at once, but libraries one by one.
const maxAttempts = 20

// serve starts a server on the data, which finishes recovery, and has work done
// while it runs. What the image's server does not take of the source's settings
// and libraries is taken out, and it is started again.
func (p *preparation) serve(ctx context.Context) error {
	for range maxAttempts {
		output, ready, err := p.attempt(ctx)
		if ready || err == nil || ctx.Err() != nil {
			return err
		}
		changed, fault := p.takeOut(output)
		if fault != nil {
			return fault
		}
		if !changed {
			return serverError(err, output)
		}
		if err := p.rewriteConf(); err != nil {
			return err
		}
	}
	return errs.New(errs.Precondition, "PREPARE", "the server still does not start, after %d attempts to take out settings that it does not take", maxAttempts).
		WithHint("choose an image that is closer to the source's server")
}

// attempt starts a server, does the work and sees that the server ends well. It
// returns what the server printed first, and whether it became ready.
func (p *preparation) attempt(parent context.Context) (output []string, ready bool, err error) {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	task := p.task("serve", func(line string) {
		if len(output) < 1000 { // recovery may be wordy, and what matters comes first
			output = append(output, line)
		}
		if strings.Contains(line, "redo in progress") {
			p.report("recovery: "+message(line), 0, 0)
		}
	}, append([]string{"postgres"}, p.serverArgs()...)...)
	var failed error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		failed = p.rt.Run(ctx, task)
	}()
	target := database.Target{VolumePath: p.req.Volume.Path, DataDir: p.req.Volume.DataDir, Port: port}
	err = container.Poll(ctx, ended, func(ctx context.Context) error { return New().Ready(ctx, target) },
		func() error { return errs.New(errs.Precondition, "PREPARE", "the server ended before it was ready") })
	if ready = err == nil; ready {
		err = p.work(ctx)
	}
	if err != nil {
		cancel() // it may still run
	}
	<-ended
	switch {
	case err == nil:
		return output, ready, failed
	case !ready && failed != nil && parent.Err() == nil:
		return output, ready, failed
	}
	e := *errs.As(err)
	if e.Log == nil {
		e.Log = output[max(0, len(output)-40):]
	}
	return output, ready, &e
}

// message is a line of a server's log without what comes before the message.
func message(line string) string {
	for _, level := range []string{"PANIC:  ", "FATAL:  ", "ERROR:  ", "LOG:  "} {
		if _, rest, ok := strings.Cut(line, level); ok {
			return rest
		}
	}
	return line
}

// said returns the first line that has the text in it; "" if none has.
func said(lines []string, text string) string {
	for _, line := range lines {
		if strings.Contains(line, text) {
			return line
		}
	}
	return ""
}

// serverFaults classify what a server says that does not start, or can't finish
// recovery.
var serverFaults = []struct {
	said   string
	kind   errs.Kind
	reason string
	hint   string
}{
	{"No space left on device", errs.Exhausted, "POOL_FULL", "delete clones or old snapshots, or make the pool larger"},
	{"could not locate a valid checkpoint record", errs.Corrupt, "NO_CHECKPOINT", "the write-ahead log is not that of the data: copy them together"},
	{"could not locate required checkpoint record", errs.Corrupt, "NO_CHECKPOINT", "the log that the backup needs is missing: copy the server with a base backup"},
	{"WAL ends before", errs.Corrupt, "INCOMPLETE", "the log that the copy needs is missing: copy it again, all at once"},
	{"requested timeline", errs.Corrupt, "INCOMPLETE", "the log that the copy needs is missing: copy it again, all at once"},
	{"database files are incompatible with server", errs.Precondition, database.ReasonVersion, "choose an image built with the same options as the source's server"},
	{"could not map anonymous shared memory", errs.Precondition, "MEMORY", "lower the golden's shared_buffers, or raise its memory"},
	{"PANIC:  ", errs.Corrupt, "RECOVERY", "the data is damaged: see the log, and copy it again"},
}

// serverError says why a server did not start, or could not finish recovery.
func serverError(err error, output []string) error {
	e := *errs.As(err)
	for _, f := range serverFaults {
		if line := said(output, f.said); line != "" {
			found := errs.New(f.kind, f.reason, "recovering the data: %s", message(line)).WithLog(e.Log)
			found.Hint = f.hint
			return found
		}
	}
	e.Message = "the server that was to recover the data failed: " + e.Error()
	if line := said(output, "FATAL:  "); line != "" {
		e.Message = "the server that was to recover the data says: " + message(line)
	}
	e.Err = errors.Unwrap(err)
	return &e
}
