package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// variable is one of the environment.
type variable struct{ name, value string }

// environment is what programs find a clone's database by: DATABASE_URL, and
// libpq's variables.
func environment(c *clonedv1.Clone) []variable {
	e := c.GetEndpoint()
	return []variable{
		{"DATABASE_URL", e.GetUrl()},
		{"PGHOST", e.GetAddress()},
		{"PGPORT", strconv.Itoa(int(e.GetPort()))},
		{"PGUSER", e.GetRole()},
		{"PGPASSWORD", e.GetPassword()},
		{"PGDATABASE", e.GetDatabase()},
	}
}

var envFormats = map[string]func(variable) string{
	"shell": func(v variable) string { return "export " + v.name + "=" + shellQuote(v.value) },
	"fish": func(v variable) string {
		return "set -gx " + v.name + " '" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v.value) + "'"
	},
	"powershell": func(v variable) string {
		// To PowerShell typographic quotes are quotes.
		return "$env:" + v.name + " = '" + strings.NewReplacer("'", "''", "‘", "‘‘", "’", "’’", "‚", "‚‚", "‛", "‛‛").Replace(v.value) + "'"
	},
	"dotenv": func(v variable) string {
		return v.name + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "\n", `\n`, "\r", `\r`).Replace(v.value) + `"`
	},
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func newEnv(a *app) *cobra.Command {
	format := ""
	cmd := a.one("env [NAME]", "Print the environment by which programs find a clone",
		"  eval \"$(clonectl env)\"\n  clonectl env dev --format dotenv >> .env",
		func(ctx context.Context, c *client.Client, name string) error {
			line, ok := envFormats[format]
			if !ok && format != "json" {
				return errs.Fieldf("format", "%q is none of shell, fish, powershell, dotenv, json", format)
			}
			clone, err := reachable(ctx, c, name)
			if err != nil {
				return err
			}
			if format == "json" {
				m := map[string]string{}
				for _, v := range environment(clone) {
					m[v.name] = v.value
				}
				return a.printJSON(m)
			}
			for _, v := range environment(clone) {
				fmt.Fprintln(a.out, line(v))
			}
			return nil
		})
	cmd.Flags().StringVar(&format, "format", "shell", "shell, fish, powershell, dotenv or json")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"shell", "fish", "powershell", "dotenv", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
