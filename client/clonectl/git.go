package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/errs"
)

// The repository's configuration, section cloned.
const (
	configRepo    = "cloned.repo" // an ID that the clones of its branches bear
	configEnvFile = "cloned.envFile"
	configGolden  = "cloned.golden"
	configTTL     = "cloned.ttl"
)

// repoLabel is on clones of branches: the ID of their repository.
const repoLabel = "git.repo"

func newGit(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "git", Short: "A database for each Git branch, there when the prompt is back"}
	cmd.AddCommand(newGitEnable(a), newGitDisable(a), newGitStatus(a), newGitSync(a), newGitHook(a))
	return cmd
}

func newGitEnable(a *app) *cobra.Command {
	envFile, golden, life := "", "", ""
	cmd := &cobra.Command{
		Use: "enable", Short: "Install the hook that makes or resumes a branch's clone at checkout", Args: cobra.NoArgs,
		Long: `Installs a post-checkout hook in this repository, for all its worktrees. At each
checkout of a branch it makes the branch's clone, or resumes it, and writes how to
reach it into a marked block of the env file, and nothing outside that block. A
hook that is there goes on being run, before ours. A checkout never waits for the
daemon longer than two seconds: what takes longer goes on in the background.`,
		Example: "  clonectl git enable\n  clonectl git enable --golden shop --env-file config/local.env --ttl 7d",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			r, err := openRepo(ctx)
			if err != nil {
				return err
			}
			path, err := envPath(r, envFile)
			if err != nil {
				return err
			}
			if _, err := ttl("ttl", life); err != nil {
				return err
			}
			hook, err := r.hookPath(ctx)
			if err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return errs.New(errs.Internal, "SELF", "where clonectl is: %w", err)
			}
			if gitConfig(ctx, configRepo) == "" {
				if err := setGitConfig(ctx, configRepo, strings.ToLower(rand.Text()[:16])); err != nil {
					return err
				}
			}
			for key, value := range map[string]string{configEnvFile: envFile, configGolden: golden, configTTL: life} {
				if err := setGitConfig(ctx, key, value); err != nil {
					return err
				}
			}
			changed, err := installHook(hook, self)
			if err != nil {
				return err
			}
			what := "enabled"
			if !changed {
				what = "was enabled"
			}
			fmt.Fprintf(a.out, "%s in %s; this branch: clonectl git sync\n", what, r.top)
			if _, err := runGit(ctx, "check-ignore", "--quiet", path); err != nil {
				fmt.Fprintf(a.err, "warning: Git does not ignore %s, and passwords go there: echo %s >> %s\n", envFile, shellQuote("/"+envFile), filepath.Join(r.top, ".gitignore"))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&envFile, "env-file", ".env", "file in the worktree that programs read the environment from")
	cmd.Flags().StringVar(&golden, "golden", "", "golden to clone (default: the only one)")
	cmd.Flags().StringVar(&life, "ttl", "", "how long a branch's clone lives: 7d (default: the daemon's)")
	a.complete(cmd, "golden", a.completeGoldens)
	return cmd
}

func newGitDisable(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "disable", Short: "Remove the hook, and the block from env files; clones stay", Args: cobra.NoArgs,
		Example: "  clonectl git disable",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			r, err := openRepo(ctx)
			if err != nil {
				return err
			}
			hook, err := r.hookPath(ctx)
			if err != nil {
				return err
			}
			changed, err := removeHook(hook)
			if err != nil {
				return err
			}
			tops, _, err := worktrees(ctx)
			if err != nil {
				return err
			}
			for _, top := range tops {
				path, err := envPath(repo{top: top, gitDir: r.gitDir, common: r.common}, envFileOf(ctx))
				if err != nil || !exists(path) {
					continue // nothing of ours can be there
				}
				if err := updateEnv(path, nil); err != nil {
					return err
				}
			}
			for _, key := range []string{configEnvFile, configGolden, configTTL} {
				_, _ = runGit(ctx, "config", "--local", "--unset-all", key) // it may not be set
			}
			if !changed {
				fmt.Fprintln(a.out, "was not enabled")
				return nil
			}
			_, err = fmt.Fprintln(a.out, "disabled; the clones of this repository's branches stay: clonectl ls -l "+repoLabel+"="+gitConfig(ctx, configRepo))
			return err
		},
	}
}

func newGitStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Say whether the hook is there, and which clone the branch has", Args: cobra.NoArgs,
		Example: "  clonectl git status",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			r, err := openRepo(ctx)
			if err != nil {
				return err
			}
			hook, err := r.hookPath(ctx)
			if err != nil {
				return err
			}
			enabled := "no: clonectl git enable"
			if have, err := os.ReadFile(hook); err == nil && isOurs(have) {
				enabled = "yes"
			}
			clone, err := name(nil)
			if err != nil {
				clone = "-"
			}
			return a.pairs([2]string{"Repository", r.top}, [2]string{"Enabled", enabled}, [2]string{"Env file", envFileOf(ctx)},
				[2]string{"Golden", gitConfig(ctx, configGolden)}, [2]string{"Clone of this branch", clone})
		},
	}
}

func envFileOf(ctx context.Context) string {
	if file := gitConfig(ctx, configEnvFile); file != "" {
		return file
	}
	return ".env"
}
