package daemon

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/errs"
)

// OIDCConfig is an issuer of identity tokens, such as a CI platform, and what its
// tokens are worth here.
type OIDCConfig struct {
	// Issuer is the https address that the tokens have as iss, to the letter.
	Issuer string `yaml:"issuer"`
	// Name sets the principals of this issuer apart from those of others: with one
	// they are oidc/NAME:SUBJECT, without one, which one issuer can be, oidc:SUBJECT.
	Name string `yaml:"name"`
	// Audience is what the tokens have to be made for.
	Audience string `yaml:"audience"`
	// CA is a file of the CAs of the issuer's own server. Default: the system's.
	CA string `yaml:"ca"`
	// Rules are looked at in turn; the first that fits a token counts, and a token
	// that none fits is refused.
	Rules []RuleConfig `yaml:"rules"`
}

// RuleConfig says what jobs with certain claims may do.
type RuleConfig struct {
	// Claims must all be there and fit. "*" stands for any characters, "/" and none
	// among them; all else stands for itself. Lists and objects fit nothing.
	Claims map[string]string `yaml:"claims"`
	// Role is viewer, user or operator.
	Role auth.Role `yaml:"role"`
	// Goldens are those that may be used. Default: all.
	Goldens []string    `yaml:"goldens"`
	Limits  LimitConfig `yaml:"limits"`
}

// openOIDC reads the issuers' CAs. It asks no issuer: they may be down.
func (c Config) openOIDC() (*auth.OIDC, error) {
	var list []auth.Issuer
	for i, is := range c.OIDC {
		out := auth.Issuer{URL: is.Issuer, Name: is.Name, Audience: is.Audience}
		if is.CA != "" {
			var err error
			if out.Roots, err = readCAs(is.CA); err != nil {
				return nil, errs.Fieldf(fmt.Sprintf("oidc[%d].ca", i), "%w", err)
			}
		}
		for _, r := range is.Rules {
			out.Rules = append(out.Rules, auth.Rule{Claims: r.Claims, Role: r.Role, Goldens: r.Goldens, Limits: r.Limits.limits()})
		}
		list = append(list, out)
	}
	return auth.NewOIDC(list), nil
}

var issuerName = regexp.MustCompile(`^[a-z0-9-]{0,32}$`)

func (c Config) checkOIDC() error {
	names, issuers := map[string]bool{}, map[string]bool{}
	for i, is := range c.OIDC {
		field := fmt.Sprintf("oidc[%d].", i)
		u, err := url.Parse(is.Issuer)
		switch {
		case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
			return errs.Fieldf(field+"issuer", "%q is not an https address", is.Issuer)
		case issuers[is.Issuer]:
			return errs.Fieldf(field+"issuer", "%q is there twice", is.Issuer)
		case !issuerName.MatchString(is.Name):
			return errs.Fieldf(field+"name", "%q must be at most 32 of a-z, 0-9 and \"-\"", is.Name)
		case names[is.Name]:
			return errs.Fieldf(field+"name", "%q is another issuer's: each needs its own, and one may do without", is.Name)
		case is.Audience == "":
			return errs.Fieldf(field+"audience", "must be set: without one a token that was made for anybody would do")
		case is.CA != "" && !filepath.IsAbs(is.CA):
			return errs.Fieldf(field+"ca", "%q is not an absolute path", is.CA)
		case len(is.Rules) == 0:
			return errs.Fieldf(field+"rules", "must be set: no token would be taken")
		}
		names[is.Name], issuers[is.Issuer] = true, true
		for j, r := range is.Rules {
			if err := r.check(fmt.Sprintf("%srules[%d].", field, j), is.Issuer); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r RuleConfig) check(field, issuer string) error {
	switch r.Role {
	case auth.NoRole:
		return errs.Fieldf(field+"role", "must be a role: viewer, user or operator")
	case auth.Admin:
		return errs.Fieldf(field+"role", "can't be admin: whoever can change a job could give out tokens").
			WithHint("admins come through the unix socket, or with a certificate or token of their own")
	}
	if len(r.Claims) == 0 {
		return errs.Fieldf(field+"claims", "must be set: all tokens of the issuer would do")
	}
	if names, public := publicIssuers[issuer]; public && !r.narrow(names) {
		return errs.Fieldf(field+"claims", "%s speaks for everybody: name at least one of %s, with its owner in full", issuer, strings.Join(names, ", ")).
			WithHint("for example repository or project_path: acme/shop, or acme/*")
	}
	if r.Limits.Clones < 0 || r.Limits.RequestsPerMinute < 0 {
		return errs.Fieldf(field+"limits", "must not be negative")
	}
	return nil
}

// publicIssuers speak for the jobs of everybody, which a rule that looks at
// branches only would let in. Whose a job is they tell in these claims. That it
// uses somebody's workflow is no such claim.
var publicIssuers = map[string][]string{
	"https://token.actions.githubusercontent.com": {"repository", "repository_id", "repository_owner", "repository_owner_id", "sub"},
	"https://gitlab.com":                          {"project_path", "project_id", "namespace_path", "namespace_id", "sub"},
}

// narrow says that the rule names an owner: a value without "*", or one that has
// the "/" after the owner before it.
func (r RuleConfig) narrow(names []string) bool {
	for _, name := range names {
		pattern, ok := r.Claims[name]
		before, _, open := strings.Cut(pattern, "*")
		if ok && (!open || strings.Contains(before, "/")) {
			return true
		}
	}
	return false
}

// describeOIDC tells the issuers and whether they answer, for a check. One that
// does not is no fault of this configuration: its tokens are refused until it does.
func (c Config) describeOIDC(ctx context.Context) (string, error) {
	o, err := c.openOIDC()
	if err != nil {
		return "", err
	}
	var all []string
	for _, is := range c.OIDC {
		text := is.Issuer + " answers"
		if err := o.Probe(ctx, is.Issuer); err != nil {
			text = err.Error()
		}
		all = append(all, text)
	}
	return strings.Join(all, "; "), nil
}
