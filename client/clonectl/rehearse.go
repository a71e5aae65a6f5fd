package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/client/rehearse"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

type rehearseOptions struct {
	golden, snapshot, from, failOn, output string
	reports                                []string
	timeout                                time.Duration
}

func newRehearse(a *app) *cobra.Command {
	o := &rehearseOptions{}
	cmd := &cobra.Command{
		Use:   "rehearse [flags] -- COMMAND [ARG…]",
		Short: "Run a migration on a throw-away clone, and say what it would do to production",
		Long: `Makes a clone, runs the command with DATABASE_URL and PGHOST, PGPORT, PGUSER,
PGPASSWORD and PGDATABASE set, and reports how long it took; which locks it held,
for how long, on what, and whom they would have shut out; which tables it
rewrote; how much it wrote and grew; its slowest statements; the warnings and
errors of the server; and what it did to the schema. The clone is removed.

--fail-on makes a gate of terms separated by commas: exclusive-lock>2s,
share-lock>2s, blocks-reads>1s, blocks-writes>1s, rewrite>100MB, wal>1GB,
growth>1GB, duration>10m, error. If the report breaks one, clonectl exits with 5.
If the command fails, clonectl exits with its exit code. The report is printed
in any case; what the command prints goes to standard error.`,
		Example: `  clonectl rehearse -- ./migrate up
  clonectl rehearse --golden shop --fail-on 'exclusive-lock>2s,rewrite,error' -- ./migrate up
  clonectl rehearse --from dev --report report.md --report report.json -- psql -f fix.sql`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runRehearse(cmd.Context(), o, args) },
	}
	f := cmd.Flags()
	f.StringVar(&o.golden, "golden", "", "golden to rehearse on (default: the only one)")
	f.StringVar(&o.snapshot, "snapshot", "", "snapshot of the golden (default: the newest)")
	f.StringVar(&o.from, "from", "", "clone to rehearse on a fork of, CLONE or CLONE@SNAPSHOT (default: none)")
	f.StringVar(&o.failOn, "fail-on", "", "exit with 5 if the report breaks one of these terms")
	f.StringArrayVar(&o.reports, "report", nil, "write the report to a file too, FILE.json or FILE.md; may be repeated")
	f.DurationVar(&o.timeout, "command-timeout", commandTimeout, "kill the command after this time; 0 for never")
	f.SetInterspersed(false)
	a.complete(cmd, "golden", a.completeGoldens)
	a.complete(cmd, "snapshot", a.completeSnapshots)
	a.complete(cmd, "from", a.completeClones)
	outputFlag(cmd, &o.output, "markdown")
	return cmd
}

func (a *app) runRehearse(ctx context.Context, o *rehearseOptions, argv []string) error {
	gate, err := rehearse.ParseGate(o.failOn)
	if err != nil {
		return err
	}
	for _, path := range o.reports {
		if ext := filepath.Ext(path); ext != ".json" && ext != ".md" {
			return errs.Fieldf("report", "%q ends neither in .json nor in .md", path)
		}
	}
	if err := checkCommand(argv); err != nil {
		return err
	}
	ctx, c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	from := &createOptions{golden: o.golden, snapshot: o.snapshot, from: o.from}
	req, err := from.request(ctx, c, scratchName("rehearse", "clone"))
	if err != nil {
		return err
	}
	req.CountStatements = true
	lease, err := a.lease(ctx, c, req)
	if err != nil {
		return err
	}
	defer a.release(lease)
	var failure error
	report, err := a.watch(ctx, c, lease.Clone, o.timeout, func(ctx context.Context) error {
		failure = a.runOn(ctx, lease.Clone, 0, a.err, argv)
		return failure
	}, rehearse.WithCommand(argv...))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	a.addSchema(ctx, c, lease.Clone, &report)
	report.Broken = gate.Check(report)
	if err := a.printReport(report, o); err != nil {
		return err
	}
	switch {
	case report.TimedOut:
		return errs.New(errs.Unavailable, "TIMEOUT", "%s was killed after %s", argv[0], o.timeout).
			WithHint("give it more time with --command-timeout, or see what it waits for")
	case failure != nil:
		return exitOf(failure)
	case len(report.Broken) > 0:
		return errs.New(errs.Precondition, "GATE", "the gate is not passed: %s", strings.Join(report.Broken, "; "))
	}
	return nil
}

// watch has work done on a clone, and watches its server meanwhile.
func (a *app) watch(ctx context.Context, c *client.Client, clone *clonedv1.Clone, timeout time.Duration, work func(context.Context) error, opts ...rehearse.Option) (rehearse.Report, error) {
	cfg, err := pgx.ParseConfig(clone.GetEndpoint().GetUrl())
	if err != nil {
		return rehearse.Report{}, errs.New(errs.Internal, "URL", "the URL of clone %s: %w", clone.GetName(), err)
	}
	logged := func(ctx context.Context) ([]byte, error) {
		var b bytes.Buffer
		err := c.Logs(ctx, clone.GetName(), 0, false, &b)
		return b.Bytes(), err
	}
	before, err := logged(ctx)
	if err != nil {
		return rehearse.Report{}, err
	}
	opts = append(opts, rehearse.WithLog(func(ctx context.Context) ([]string, error) {
		all, err := logged(ctx)
		return strings.Split(string(all[min(len(before), len(all)):]), "\n"), err
	}))
	return rehearse.Run(ctx, cfg, timeout, work, opts...)
}

// addSchema adds to the report how the clone's schema differs from what it came
// from.
func (a *app) addSchema(ctx context.Context, c *client.Client, clone *clonedv1.Clone, report *rehearse.Report) {
	d := difference{From: "before", To: "after"}
	err := func() error {
		origin, err := a.scratch(ctx, c, clone.GetName()+"@"+clone.GetSnapshot(), "before")
		if err != nil {
			return err
		}
		defer a.release(origin)
		before, err := connect(ctx, origin.Clone)
		if err != nil {
			return err
		}
		defer before.Close(context.WithoutCancel(ctx)) // a session that is lost is no loss
		after, err := connect(ctx, clone)
		if err != nil {
			return err
		}
		defer after.Close(context.WithoutCancel(ctx))
		return d.compare(ctx, before, after)
	}()
	if err != nil {
		report.Notes = append(report.Notes, "the schema was not compared: "+err.Error())
		return
	}
	report.Schema = d
	var list strings.Builder
	for _, change := range d.Changes {
		fmt.Fprintf(&list, "- %s: `%s`\n", change.Action, strings.ReplaceAll(change.Key.String(), "`", "'"))
	}
	report.SchemaMarkdown = list.String()
	for _, s := range d.Statements {
		report.SchemaStatements = append(report.SchemaStatements, strings.TrimRight(s.SQL, "; \n")+";")
	}
}

// printReport prints the report, and writes it where it is wanted too.
func (a *app) printReport(report rehearse.Report, o *rehearseOptions) error {
	for _, path := range o.reports {
		var b bytes.Buffer
		if filepath.Ext(path) == ".md" {
			b.WriteString(report.Markdown())
		} else if err := (&app{out: &b}).printJSON(report); err != nil {
			return err
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			return errs.Fieldf("report", "%w", err)
		}
	}
	switch o.output {
	case "json":
		return a.printJSON(report)
	case "markdown":
		_, err := fmt.Fprint(a.out, report.Markdown())
		return err
	}
	fmt.Fprint(a.out, report.Text())
	if len(report.SchemaStatements) > 0 {
		fmt.Fprintf(a.out, "\nschema:\n%s\n", strings.Join(report.SchemaStatements, "\n"))
	}
	return nil
}
