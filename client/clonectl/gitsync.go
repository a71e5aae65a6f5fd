package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

const (
	// hookBudget is what a checkout waits for us at most, with what it takes to
	// start and to end well within two seconds.
	hookBudget = 1500 * time.Millisecond
	// backgroundBudget is for what a checkout did not wait for.
	backgroundBudget = 5 * time.Minute
)

func newGitSync(a *app) *cobra.Command {
	quiet := false
	cmd := &cobra.Command{
		Use: "sync", Short: "Make or resume this branch's clone and update the env file, as at a checkout", Args: cobra.NoArgs,
		Example: "  clonectl git sync",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if quiet {
				return a.syncInBackground()
			}
			r, branch, err := onBranch(cmd.Context())
			if err != nil {
				return err
			}
			clone, err := a.syncBranch(cmd.Context(), r, branch)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s: %s in %s\n", branch, clone.GetName(), envFileOf(cmd.Context()))
			return err
		},
	}
	cmd.Flags().BoolVar(&quiet, "background", false, "as the hook leaves it to be done")
	_ = cmd.Flags().MarkHidden("background") // of no use to people
	return cmd
}

func newGitHook(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "hook PREVIOUS NEW FLAG", Short: "What the post-checkout hook does", Hidden: true, Args: cobra.ExactArgs(3),
		Example: "  clonectl git hook $1 $2 $3",
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[2] != "1" { // files were checked out, not a branch
				return nil
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), hookBudget)
			defer cancel()
			a.afterCheckout(ctx)
			return nil // whatever we could not do, the checkout is done
		},
	}
}

// afterCheckout does what can be done at once, and leaves the rest to another
// process. It says what goes wrong, in a line. Whatever hangs, git or a disk, it
// returns when ctx ends.
func (a *app) afterCheckout(ctx context.Context) {
	file := "the env file"
	known := make(chan string, 1)
	done := make(chan error, 1) // nil too where there is nothing to be said
	go func() {
		b := &app{in: a.in, out: a.out, err: a.err, host: a.host} // it may outlast us
		defer b.close()
		done <- b.ofCheckout(ctx, known)
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	select {
	case file = <-known:
	default:
	}
	switch {
	case err == nil:
	case ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded):
		note := "its address comes into " + file + " when it is there"
		if err := background(); err != nil {
			note = "get it with: clonectl git sync"
		}
		fmt.Fprintf(a.err, "cloned: this branch's database takes a while; %s\n", note)
	default:
		fmt.Fprintf(a.err, "cloned: this branch has no database: %v; later: clonectl git sync\n", oneLine(err.Error()))
	}
}

// ofCheckout is syncBranch for what has just been checked out. It says which the
// env file is as soon as that is known.
func (a *app) ofCheckout(ctx context.Context, file chan<- string) error {
	r, branch, err := onBranch(ctx)
	if err != nil {
		return ctx.Err() // detached, as in a rebase or a bisection
	}
	name := envFileOf(ctx)
	file <- name
	if !hasCommits(ctx) {
		if path, err := envPath(r, name); ctx.Err() == nil && err == nil && exists(path) {
			return notYet(path, branch)
		}
		return ctx.Err()
	}
	clone, err := a.syncBranch(ctx, r, branch)
	if err == nil && ctx.Err() == nil {
		fmt.Fprintf(a.err, "cloned: this branch's database is %s\n", clone.GetName())
	}
	return err
}

// onBranch returns the repository and the branch that is checked out.
func onBranch(ctx context.Context) (repo, string, error) {
	r, err := openRepo(ctx)
	if err != nil {
		return r, "", err
	}
	branch, err := currentBranch(ctx)
	return r, branch, err
}

// syncBranch makes the branch's clone, or resumes it, and writes how to reach it
// into the env file. Until the clone is there, the file names none: not that of
// another branch.
func (a *app) syncBranch(ctx context.Context, r repo, branch string) (*clonedv1.Clone, error) {
	path, err := envPath(r, envFileOf(ctx))
	if err != nil {
		return nil, err
	}
	if err := notYet(path, branch); err != nil {
		return nil, err
	}
	_, c, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	clone, err := a.cloneOfBranch(ctx, c, branch)
	if err != nil {
		return nil, err
	}
	if now, err := currentBranch(ctx); err != nil || now != branch {
		return clone, nil // it is another's turn
	}
	lines := []string{"# clone " + clone.GetName(), ofBranch(branch)}
	for _, v := range environment(clone) {
		lines = append(lines, envFormats["dotenv"](v))
	}
	return clone, updateEnv(path, lines)
}

// notYet has the env file name no clone, unless it names the branch's.
func notYet(path, branch string) error {
	have, err := os.ReadFile(path)
	if err == nil && slices.Contains(strings.Split(strings.ReplaceAll(string(have), "\r\n", "\n"), "\n"), ofBranch(branch)) {
		return nil
	}
	return updateEnv(path, []string{fmt.Sprintf("# the clone of branch %s is not there yet: clonectl git sync", branch)})
}

// ofBranch is the line of the block that says whose clone it names.
func ofBranch(branch string) string { return "# of branch " + branch + "." }

// cloneOfBranch returns the branch's clone, ready to be connected to.
func (a *app) cloneOfBranch(ctx context.Context, c *client.Client, branch string) (*clonedv1.Clone, error) {
	repository, owner := gitConfig(ctx, configRepo), defaultOwner()
	chosen := gitConfig(ctx, branchClone(branch))
	if chosen == "" {
		chosen = nameOfBranch(branch)
		clone, err := get(ctx, c, chosen)
		if err == nil && !(clone.GetBranch() == attributeOf(branch) && clone.GetOwner() == owner && (clone.GetLabels()[repoLabel] == repository || clone.GetLabels()[repoLabel] == "")) {
			// It is another branch's, or another developer's.
			chosen = ownNameOfBranch(branch, repository, owner)
			if err := setGitConfig(ctx, branchClone(branch), chosen); err != nil {
				return nil, err
			}
			fmt.Fprintf(a.err, "cloned: the clone %s is of branch %q, so this branch's is %s\n", clone.GetName(), clone.GetBranch(), chosen)
		} else if err != nil && !errs.Is(err, errs.NotFound) {
			return nil, err
		}
	}
	clone, err := get(ctx, c, chosen)
	switch {
	case errs.Is(err, errs.NotFound):
		o := &createOptions{golden: gitConfig(ctx, configGolden), branch: branch, owner: owner, ttl: gitConfig(ctx, configTTL)}
		req, err := o.request(ctx, c, chosen)
		if err != nil {
			return nil, err
		}
		clone, _, err = c.CreateAndWait(ctx, req)
		return clone, err
	case err != nil:
		return nil, err
	case clone.GetState() == clonedv1.CloneState_CLONE_STATE_SUSPENDED:
		resp, err := c.Clones.ResumeClone(ctx, &clonedv1.ResumeCloneRequest{Name: chosen})
		return resp.GetClone(), err
	}
	return reachable(ctx, c, chosen)
}

// syncInBackground does what a checkout did not wait for, for whatever branch is
// checked out by then; one process does so for a worktree.
func (a *app) syncInBackground() error {
	ctx, cancel := context.WithTimeout(context.Background(), backgroundBudget)
	defer cancel()
	r, branch, err := onBranch(ctx)
	if err != nil {
		return err
	}
	lock := flock.New(filepath.Join(r.gitDir, "cloned.lock"))
	if held, err := lock.TryLock(); err != nil || !held {
		return err // the one that has it looks again when it is done
	}
	defer os.Remove(lock.Path())
	defer lock.Unlock() // the end of this process does so too
	for {
		if _, err := a.syncBranch(ctx, r, branch); err != nil {
			return err
		}
		now, err := currentBranch(ctx)
		if err != nil || now == branch {
			return err
		}
		branch = now
	}
}
