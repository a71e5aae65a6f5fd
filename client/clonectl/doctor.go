package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// Exit codes of doctor, beyond those of the kinds of error.
const (
	exitWarnings exitError = 11
	exitErrors   exitError = 12
)

func newDoctor(a *app) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check everything, and say what is wrong and what would mend it", Args: cobra.NoArgs,
		Long: `Has the daemon compare its records with the volumes and containers that are there,
and look at the pool, the container runtime, the packet filter, images, ports, what
is kept for undo, and its own files. It looks now, changes nothing, and takes half a
minute at most. An error is something that does not work or is lost; a warning,
something that somebody should look at.

Exit codes: 0 all is well; 11 there are warnings; 12 there are errors; others as for
every command, such as 8 when no daemon answers.`,
		Example: "  clonectl doctor\n  clonectl doctor -o json | jq -r '.findings[].message'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			h, err := c.Host.CheckHealth(ctx, &clonedv1.CheckHealthRequest{})
			if err != nil {
				return err
			}
			if output == "json" {
				err = a.printJSON(toJSON(h))
			} else {
				err = a.printHealth(h)
			}
			if err != nil {
				return err
			}
			return healthExit(h.GetFindings())
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func isError(f *clonedv1.Finding) bool {
	return f.GetSeverity() == clonedv1.Finding_SEVERITY_ERROR
}

// healthExit is the worst of what was found.
func healthExit(findings []*clonedv1.Finding) error {
	var worst error
	for _, f := range findings {
		if isError(f) {
			return exitErrors
		}
		worst = exitWarnings
	}
	return worst
}

func (a *app) printHealth(h *clonedv1.CheckHealthResponse) error {
	var rows [][]string
	errors := 0
	for _, f := range h.GetFindings() {
		severity := "warning"
		if isError(f) {
			severity = "error"
			errors++
		}
		rows = append(rows, []string{severity, f.GetCheck(), cell(f.GetMessage())})
		if f.GetRemedy() != "" {
			rows = append(rows, []string{"", "", "→ " + cell(f.GetRemedy())})
		}
	}
	if len(rows) > 0 {
		if err := a.table("SEVERITY CHECK FINDING", rows); err != nil {
			return err
		}
	}
	said := "all is well"
	if len(rows) > 0 {
		said = fmt.Sprintf("%d errors, %d warnings", errors, len(h.GetFindings())-errors)
	}
	_, err := fmt.Fprintf(a.out, "%s: %d checks in %s (%s)\n", said, len(h.GetChecks()), took(h.GetTook().AsDuration()), strings.Join(h.GetChecks(), ", "))
	return err
}

// cell is text, whoever it came from, for a table.
func cell(text string) string { return printable(oneLine(text)) }
