package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// scratchName names a clone that is made for the life of a command, after what
// it is made for.
func scratchName(base, what string) string {
	suffix := "-" + what + "-" + strings.ToLower(rand.Text()[:6])
	return strings.TrimRight(base[:min(len(base), maxName-len(suffix))], "-") + suffix
}

// scratch makes a clone of what ref means (see refTo) that lives as long as we do.
func (a *app) scratch(ctx context.Context, c *client.Client, ref, what string) (*client.Lease, error) {
	req, err := scratchRequest(ctx, c, ref, what)
	if err != nil {
		return nil, err
	}
	return a.lease(ctx, c, req)
}

func scratchRequest(ctx context.Context, c *client.Client, ref, what string) (*clonedv1.CreateCloneRequest, error) {
	req, err := refTo(ctx, c, ref)
	if err != nil {
		return nil, err
	}
	base, _, _ := strings.Cut(ref, "@")
	req.Name, req.Owner = scratchName(base, what), defaultOwner()
	return req, nil
}

// refTo returns the request for a clone of what a user names: CLONE, GOLDEN, or
// either with @SNAPSHOT. A clone goes before a golden of the same name.
func refTo(ctx context.Context, c *client.Client, ref string) (*clonedv1.CreateCloneRequest, error) {
	name, at, _ := strings.Cut(ref, "@")
	_, err := get(ctx, c, name)
	switch {
	case err == nil:
		return &clonedv1.CreateCloneRequest{From: name, Snapshot: at}, nil
	case !errs.Is(err, errs.NotFound):
		return nil, err
	}
	if _, err := c.Goldens.GetGolden(ctx, &clonedv1.GetGoldenRequest{Name: name}); errs.Is(err, errs.NotFound) {
		return nil, errs.New(errs.NotFound, "NOT_FOUND", "there is neither a clone nor a golden named %q", name).
			WithHint("clonectl tree shows what there is")
	} else if err != nil {
		return nil, err
	}
	return &clonedv1.CreateCloneRequest{Golden: name, Snapshot: at}, nil
}

// commandTimeout is how long a command may run if nothing else is said: one that
// hangs must not hold a clone, and its lock, for ever.
const commandTimeout = time.Hour

// commandWait is how long the output of a command that was killed is waited for.
const commandWait = 5 * time.Second

// runOn runs a command against a clone. With a timeout it is killed, and all
// that it has started; errs.Unavailable (TIMEOUT) then. Else the error is that of
// the command.
func (a *app) runOn(ctx context.Context, clone *clonedv1.Clone, timeout time.Duration, out io.Writer, argv []string) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	ownGroup(cmd)
	cmd.WaitDelay = commandWait
	cmd.Stdout, cmd.Stderr = out, a.err
	cmd.Env = os.Environ()
	for _, v := range environment(clone) {
		cmd.Env = append(cmd.Env, v.name+"="+v.value)
	}
	err := cmd.Run()
	switch {
	case timeout > 0 && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errs.New(errs.Unavailable, "TIMEOUT", "%s was killed after %s", argv[0], timeout).
			WithHint("give it more time with --command-timeout, or see what it waits for")
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}

// checkCommand refuses what can't be run, before anything is made for it.
func checkCommand(argv []string) error {
	if _, err := exec.LookPath(argv[0]); err != nil {
		return errs.Fieldf("command", "%w", err)
	}
	return nil
}

// connect opens a session on a clone.
func connect(ctx context.Context, clone *clonedv1.Clone) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, clone.GetEndpoint().GetUrl())
	if err != nil {
		return nil, errs.New(errs.Unavailable, "CONNECT", "connecting to clone %s: %w", clone.GetName(), err)
	}
	return conn, nil
}

// quiet refuses a clone in which others have begun transactions: what they are
// about to write would be lost with it.
func quiet(ctx context.Context, clone *clonedv1.Clone) error {
	conn, err := connect(ctx, clone)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) // a session that is lost is no loss
	var others int
	err = conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start IS NOT NULL`).Scan(&others)
	switch {
	case err != nil:
		return errs.New(errs.Unavailable, "CONNECT", "asking clone %s who uses it: %w", clone.GetName(), err)
	case others > 0:
		return errs.New(errs.Conflict, "IN_USE", "%d other sessions have transactions open in %s: what they write would be lost", others, clone.GetName()).
			WithHint("only the command may use the temporary endpoint; end them and repeat")
	}
	return nil
}

// failedCommand says how a command ended.
func failedCommand(argv []string, err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Sprintf("%s failed: %v", argv[0], exit)
	}
	return err.Error()
}
