package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/cloned-db/cloned/errs"
)

// repo is a Git repository, seen from one of its worktrees.
type repo struct {
	top    string // of the worktree
	gitDir string // the worktree's own
	common string // shared by all worktrees
}

// openRepo finds the repository that we are in.
func openRepo(ctx context.Context) (repo, error) {
	out, err := runGit(ctx, "rev-parse", "--path-format=absolute", "--show-toplevel", "--git-dir", "--git-common-dir")
	if err != nil {
		return repo{}, errs.New(errs.Precondition, "NO_CHECKOUT", "no Git checkout here").WithHint("go to one: cd REPOSITORY")
	}
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	if len(lines) != 3 {
		return repo{}, errs.New(errs.Internal, "GIT", "git rev-parse printed %q", out)
	}
	return repo{top: lines[0], gitDir: lines[1], common: lines[2]}, nil
}

// gitWait is how long what a git that was killed has started is waited for.
const gitWait = 100 * time.Millisecond

// runGit runs git and returns what it printed.
func runGit(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.WaitDelay = gitWait
	out, err := cmd.Output()
	if err != nil {
		return "", errs.New(errs.Precondition, "GIT", "git %s: %w: %s", args[0], err, oneLine(stderr.String()))
	}
	return string(out), nil
}

// gitConfig returns a value of the repository's configuration, "" if it is not set.
func gitConfig(ctx context.Context, key string) string {
	out, err := runGit(ctx, "config", "--get", key)
	if err != nil {
		return "" // git's answer for what is not set
	}
	return strings.TrimSuffix(out, "\n")
}

func setGitConfig(ctx context.Context, key, value string) error {
	_, err := runGit(ctx, "config", "--local", key, value)
	return err
}

// hookPath returns where Git looks for the post-checkout hook. It refuses one
// that other repositories share.
func (r repo) hookPath(ctx context.Context) (string, error) {
	out, err := runGit(ctx, "rev-parse", "--path-format=absolute", "--git-path", "hooks/post-checkout")
	if err != nil {
		return "", err
	}
	path := strings.TrimSuffix(out, "\n")
	if !inside(r.top, path) && !inside(r.common, path) {
		return "", errs.New(errs.Precondition, "SHARED_HOOKS", "the hooks of this repository are in %s, which other repositories may share (core.hooksPath)", filepath.Dir(path)).
			WithHint("give it hooks of its own: git config --local core.hooksPath %s", filepath.Join(r.common, "hooks"))
	}
	return path, nil
}

// inside says that path lies in dir, after links are followed as far as there is
// something.
func inside(dir, path string) bool {
	rel, err := filepath.Rel(real(dir), real(path))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

func real(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		return resolved
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(real(parent), filepath.Base(path))
	}
	return path
}

// worktrees returns the tops of all worktrees, and the branches checked out there.
func worktrees(ctx context.Context) (tops []string, branches map[string]bool, err error) {
	out, err := runGit(ctx, "worktree", "list", "--porcelain", "-z")
	if err != nil {
		return nil, nil, err
	}
	branches = map[string]bool{}
	for _, line := range strings.Split(out, "\x00") {
		if top, ok := strings.CutPrefix(line, "worktree "); ok {
			tops = append(tops, top)
		}
		if branch, ok := strings.CutPrefix(line, "branch refs/heads/"); ok {
			branches[branch] = true
		}
	}
	return tops, branches, nil
}

// localBranches returns the branches that there are, or those merged into one.
func localBranches(ctx context.Context, mergedInto string) (map[string]bool, error) {
	args := []string{"for-each-ref", "--format=%(refname:lstrip=2)"}
	if mergedInto != "" {
		args = append(args, "--merged="+mergedInto)
	}
	out, err := runGit(ctx, append(args, "refs/heads/")...)
	if err != nil {
		return nil, err
	}
	branches := map[string]bool{}
	for line := range strings.Lines(out) {
		branches[strings.TrimSuffix(line, "\n")] = true
	}
	return branches, nil
}

// defaultBranch returns the branch that others are merged into, and the reference
// to compare with: the remote's if there is one.
func defaultBranch(ctx context.Context) (name, ref string, err error) {
	if out, err := runGit(ctx, "symbolic-ref", "--quiet", "refs/remotes/origin/HEAD"); err == nil {
		ref := strings.TrimSpace(out)
		return strings.TrimPrefix(ref, "refs/remotes/origin/"), ref, nil
	}
	for _, name := range []string{gitConfig(ctx, "init.defaultBranch"), "main", "master"} {
		if name == "" {
			continue
		}
		if _, err := runGit(ctx, "rev-parse", "--verify", "--quiet", "refs/heads/"+name); err == nil {
			return name, "refs/heads/" + name, nil
		}
	}
	return "", "", errs.New(errs.Precondition, "NO_DEFAULT_BRANCH", "which branch others are merged into is not known").
		WithHint("git remote set-head origin --auto")
}

// hasCommits is false for a repository in which nothing was committed yet.
func hasCommits(ctx context.Context) bool {
	_, err := runGit(ctx, "rev-parse", "--verify", "--quiet", "HEAD")
	return err == nil
}

// exists says whether there is something at a path, if only a link.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}
