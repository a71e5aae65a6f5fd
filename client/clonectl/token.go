package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func newToken(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Give out tokens, by which programs show who they are"}
	cmd.AddCommand(newTokenCreate(a), newTokenList(a), newTokenRemove(a))
	return cmd
}

type tokenOptions struct {
	role, expires, memory, disk, maxTTL string
	goldens                             []string
	clones, rate                        int32
}

func newTokenCreate(a *app) *cobra.Command {
	o, output := &tokenOptions{}, ""
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a token, and print it for the only time",
		Long: `Makes a token and prints it. Only a digest of it is kept: what is lost is lost, and a
new one made. The clones that it makes belong to its name, so a token that is made
under the name of a deleted one has them.

Who is to use it has it in $CLONED_TOKEN, or in a file that --token-file or
$CLONED_TOKEN_FILE names.`,
		Example: `  clonectl token create ci --role user --golden shop --expires 720h --max-clones 10 --max-ttl 24h
  umask 077; clonectl token create dashboard --role viewer > dashboard.token`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := o.request(args[0])
			if err != nil {
				return err
			}
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			resp, err := c.Access.CreateToken(ctx, req)
			if err != nil {
				return err
			}
			if output == "json" {
				return a.printJSON(toJSON(resp))
			}
			t := resp.GetToken()
			fmt.Fprintf(a.err, "token %s, %s, %s; it is not shown again:\n", t.GetName(), roleName(t.GetRole()), expiry(t))
			_, err = fmt.Fprintln(a.out, resp.GetSecret())
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.role, "role", "", "what it may do: viewer, user, operator or admin")
	f.StringArrayVar(&o.goldens, "golden", nil, "golden that it may use; may be repeated (default: all)")
	a.complete(cmd, "golden", a.completeGoldens)
	f.StringVar(&o.expires, "expires", "", "how long it is good, e.g. 720h or 30d (default: until it is deleted)")
	f.Int32Var(&o.clones, "max-clones", 0, "most clones at one time; 0 for no bound")
	f.StringVar(&o.memory, "max-memory", "", "most memory of all its clones together, e.g. 8GiB")
	f.StringVar(&o.disk, "max-disk", "", "most that each clone may write, e.g. 20GiB")
	f.StringVar(&o.maxTTL, "max-ttl", "", "longest life of a clone that it may ask for, e.g. 24h")
	f.Int32Var(&o.rate, "rate", 0, "most changes that it may ask for in a minute; 0 for no bound")
	outputFlag(cmd, &output)
	return cmd
}

func (o *tokenOptions) request(name string) (*clonedv1.CreateTokenRequest, error) {
	role, ok := clonedv1.Role_value["ROLE_"+strings.ToUpper(o.role)]
	if !ok || role == 0 {
		return nil, errs.Fieldf("role", "%q is none of viewer, user, operator, admin", o.role)
	}
	expires, err := ttl("expires", o.expires)
	if err != nil {
		return nil, err
	}
	limits := &clonedv1.Limits{Clones: o.clones, RequestsPerMinute: o.rate}
	if limits.MaxTtl, err = ttl("max-ttl", o.maxTTL); err != nil {
		return nil, err
	}
	if limits.MemoryBytes, err = byteSize("max-memory", o.memory); err != nil {
		return nil, err
	}
	if limits.DiskBytes, err = byteSize("max-disk", o.disk); err != nil {
		return nil, err
	}
	return &clonedv1.CreateTokenRequest{Name: name, Role: clonedv1.Role(role), Goldens: o.goldens, Limits: limits, Ttl: expires}, nil
}

func newTokenList(a *app) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List tokens, without their secrets", Args: cobra.NoArgs, Example: "  clonectl token ls",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			resp, err := c.Access.ListTokens(ctx, &clonedv1.ListTokensRequest{})
			if err != nil {
				return err
			}
			return printList(a, output, resp.GetTokens(), "NAME ROLE GOLDENS LIMITS EXPIRY AGE BY", func(t *clonedv1.Token) []string {
				age := span(time.Since(t.GetCreateTime().AsTime()))
				return []string{t.GetName(), roleName(t.GetRole()), allOr(t.GetGoldens()), cmp.Or(limitsText(t.GetLimits()), "-"), expiry(t), age, t.GetCreatedBy()}
			})
		},
	}
	outputFlag(cmd, &output, "name")
	return cmd
}

func newTokenRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME...", Short: "Delete tokens: they open nothing from then on", Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions, Example: "  clonectl token rm ci",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			for _, name := range args {
				if _, err := c.Access.DeleteToken(ctx, &clonedv1.DeleteTokenRequest{Name: name}); err != nil {
					return err
				}
				if _, err := fmt.Fprintf(a.out, "token %s deleted\n", name); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func newWhoami(a *app) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use: "whoami", Short: "Tell who the daemon takes you for, and what you may do", Args: cobra.NoArgs, Example: "  clonectl whoami",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			me, err := c.Access.WhoAmI(ctx, &clonedv1.WhoAmIRequest{})
			if err != nil {
				return err
			}
			if output == "json" {
				return a.printJSON(toJSON(me))
			}
			return a.pairs(
				[2]string{"Principal", me.GetPrincipal()},
				[2]string{"Role", roleName(me.GetRole())},
				[2]string{"Goldens", allOr(me.GetGoldens())},
				[2]string{"Limits", limitsText(me.GetLimits())},
			)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func roleName(r clonedv1.Role) string {
	return strings.ToLower(strings.TrimPrefix(r.String(), "ROLE_"))
}

func allOr(goldens []string) string { return cmp.Or(strings.Join(goldens, ","), "all") }

func expiry(t *clonedv1.Token) string {
	switch at := t.GetExpireTime(); {
	case at == nil:
		return "for ever"
	case at.AsTime().Before(time.Now()):
		return "expired"
	default:
		return "for " + span(time.Until(at.AsTime()))
	}
}

func limitsText(l *clonedv1.Limits) string {
	var all []string
	add := func(is bool, format string, args ...any) {
		if is {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	add(l.GetClones() > 0, "%d clones", l.GetClones())
	add(l.GetMemoryBytes() > 0, "%s of memory", size(l.GetMemoryBytes()))
	add(l.GetDiskBytes() > 0, "%s each", size(l.GetDiskBytes()))
	add(l.GetMaxTtl() != nil, "for %s", span(l.GetMaxTtl().AsDuration()))
	add(l.GetRequestsPerMinute() > 0, "%d a minute", l.GetRequestsPerMinute())
	return strings.Join(all, ", ")
}
