package main

import (
	"context"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/errs"
)

func newConnect(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "connect [NAME] [-- PSQL-ARG…]", Short: "Open psql on a clone",
		Example:           "  clonectl connect\n  clonectl connect dev -- -c 'SELECT count(*) FROM orders'",
		ValidArgsFunction: a.firstArg(a.completeClones),
		RunE: func(cmd *cobra.Command, args []string) error {
			names, rest := args, []string(nil)
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				names, rest = args[:dash], args[dash:]
			}
			if len(names) > 1 {
				return errs.New(errs.Invalid, "USAGE", "connect takes one name").WithHint("arguments of psql come after --")
			}
			return a.runConnect(cmd.Context(), names, rest)
		},
	}
}

func (a *app) runConnect(ctx context.Context, names, psqlArgs []string) error {
	name, err := name(names)
	if err != nil {
		return err
	}
	path, err := exec.LookPath("psql")
	if err != nil {
		return errs.New(errs.Precondition, "NO_PSQL", "psql is not installed here").
			WithHint("apt-get install postgresql-client, or use another client: clonectl url %s", name)
	}
	ctx, c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	clone, err := reachable(ctx, c, name)
	if err != nil {
		return err
	}
	// By the environment, so that the password is in no process list.
	env := os.Environ()
	for _, v := range environment(clone) {
		env = append(env, v.name+"="+v.value)
	}
	return become(path, append([]string{"psql"}, psqlArgs...), env)
}
