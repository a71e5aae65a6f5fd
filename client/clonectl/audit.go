package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

type auditOptions struct {
	since             time.Duration
	principal, method string
	tail              int32
}

func newAudit(a *app) *cobra.Command {
	o, output := &auditOptions{}, ""
	cmd := &cobra.Command{
		Use: "audit [NAME]", Short: "Show who changed what, and who read credentials", Args: cobra.MaximumNArgs(1),
		Long: `Prints the daemon's audit log, the oldest first: each call that changed something
or was refused to, each that read a clone's credentials, and each clone that the
daemon deleted because its time was over. With a NAME only those that name it, a
clone or a golden. It takes the role admin.`,
		Example:           "  clonectl audit --since 1h\n  clonectl audit dev --method DeleteClone\n  clonectl audit --principal token:ci --tail 20 -o json",
		ValidArgsFunction: a.firstArg(a.completeClones),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.since < 0 {
				return errs.Fieldf("since", "must not be negative")
			}
			req := &clonedv1.ListAuditRequest{Principal: o.principal, Method: o.method, Tail: o.tail}
			if o.since > 0 {
				req.SinceTime = timestamppb.New(time.Now().Add(-o.since))
			}
			if len(args) > 0 {
				req.Name = args[0]
			}
			return a.runAudit(cmd.Context(), req, output)
		},
	}
	cmd.Flags().DurationVar(&o.since, "since", 0, "only the last so long, such as 24h; 0 for all there is")
	cmd.Flags().StringVar(&o.principal, "principal", "", "only what this one did, such as token:ci or unix:ann")
	cmd.Flags().StringVar(&o.method, "method", "", "only calls of this method of the API, such as DeleteClone")
	cmd.Flags().Int32Var(&o.tail, "tail", 0, "only the last so many; 0 for all")
	outputFlag(cmd, &output)
	return cmd
}

func (a *app) runAudit(ctx context.Context, req *clonedv1.ListAuditRequest, output string) error {
	ctx, c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	stream, err := c.Audit.ListAudit(ctx, req)
	if err != nil {
		return err
	}
	return receive(stream, func(resp *clonedv1.ListAuditResponse) {
		if output == "json" {
			fmt.Fprintf(a.out, "%s\n", toJSON(resp.GetEntry()))
			return
		}
		a.printEntry(resp.GetEntry())
	})
}

// printEntry prints a line; a stream has no columns that are as wide as needed.
func (a *app) printEntry(e *clonedv1.AuditEntry) {
	outcome := e.GetOutcome()
	if e.GetReason() != "" {
		outcome += " " + e.GetReason()
	}
	line := fmt.Sprintf("%s  %-24s %-14s %-28s %s",
		e.GetTime().AsTime().Local().Format(time.DateTime), e.GetPrincipal(), e.GetMethod(), outcome, e.GetRequest())
	fmt.Fprintln(a.out, printable(line))
}
