package auth

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/cloned-db/cloned/errs"
)

// Issuer is one whose identity tokens are taken, such as a CI platform.
type Issuer struct {
	// URL is the issuer as its tokens name it, to the letter.
	URL string
	// Name sets its principals apart from another issuer's; one may do without.
	Name string
	// Audience must be among the token's: so a token that was made for somebody
	// else is worth nothing here.
	Audience string
	// Roots are the CAs of the issuer's server; nil for the system's.
	Roots *x509.CertPool
	// Rules give its tokens a role. The first that fits counts.
	Rules []Rule
}

// OIDC verifies identity tokens. It fails closed: while an issuer's keys can't be
// had its tokens are errs.Unavailable.
type OIDC struct {
	issuers map[string]*issuer
}

// NewOIDC takes the issuers' tokens. It asks none of them for anything yet.
func NewOIDC(list []Issuer) *OIDC {
	o := &OIDC{issuers: map[string]*issuer{}}
	for _, is := range list {
		o.issuers[is.URL] = &issuer{
			Issuer: is,
			rules:  compile(is.Rules),
			keys:   newKeys(is.URL, is.Roots),
			now:    time.Now,
		}
	}
	return o
}

// algorithms are those of GitHub and GitLab, and what OIDC prescribes. Neither
// "none" nor one with a shared secret is among them, for which an issuer's public
// key could be taken.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256}

// leeway is how far an issuer's clock may be from ours.
const leeway = time.Minute

// Verify is Verifier's: whose the identity token is. errs.Denied for one that is
// good and that no rule fits.
func (o *OIDC) Verify(ctx context.Context, token string) (Principal, error) {
	parsed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil { // which could quote from the token
		return Principal{}, Unauthenticated("the bearer token is neither one of this daemon's nor an identity token signed with %v", algorithms)
	}
	var unverified struct{ Iss string }
	// What this is not the name of an issuer for has none that is known.
	_ = json.Unmarshal(parsed.UnsafePayloadWithoutVerification(), &unverified)
	is, known := o.issuers[unverified.Iss]
	if !known {
		return Principal{}, Unauthenticated("the identity token's issuer %.200q is none of this daemon's", unverified.Iss).
			WithHint("ask the daemon's operator for an entry under oidc in the configuration")
	}
	return is.verify(ctx, token, parsed.Signatures[0].Header.KeyID)
}

// Probe gets an issuer's keys, as the first of its tokens would.
func (o *OIDC) Probe(ctx context.Context, url string) error {
	_, err := o.issuers[url].keys.refresh(ctx)
	return err
}

type issuer struct {
	Issuer
	rules []rule
	keys  *keys
	now   func() time.Time
}

// times are claims that the library would give leeways of its own.
type times struct {
	Expiry    *float64 `json:"exp"`
	NotBefore *float64 `json:"nbf"`
	IssuedAt  *float64 `json:"iat"`
}

func (i *issuer) verify(ctx context.Context, token, keyID string) (Principal, error) {
	signers, err := i.keys.find(ctx, keyID)
	if err != nil {
		return Principal{}, err
	}
	verifier := oidc.NewVerifier(i.URL, &oidc.StaticKeySet{PublicKeys: signers}, &oidc.Config{
		ClientID: i.Audience, SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256}, SkipExpiryCheck: true,
	})
	id, err := verifier.Verify(ctx, token)
	if err != nil {
		return Principal{}, Unauthenticated("the identity token is not good: %w", err)
	}
	var t times
	var claims claims
	if err := id.Claims(&t); err != nil {
		return Principal{}, Unauthenticated("the identity token's times are no numbers")
	}
	if err := i.live(t); err != nil {
		return Principal{}, err
	}
	if err := id.Claims(&claims); err != nil {
		return Principal{}, err
	}
	return i.principal(id.Subject, claims)
}

// live is an error for a token that has expired or is not good yet.
func (i *issuer) live(t times) error {
	now := i.now()
	at := func(seconds float64) time.Time { return time.Unix(int64(seconds), 0) }
	switch {
	case t.Expiry == nil:
		return Unauthenticated("the identity token has no end")
	case !now.Before(at(*t.Expiry).Add(leeway)):
		return Unauthenticated("the identity token expired at %s", at(*t.Expiry).UTC().Format(time.RFC3339)).
			WithHint("get a new one; if it is new, compare the clocks of the daemon's host and the issuer")
	case t.NotBefore != nil && now.Add(leeway).Before(at(*t.NotBefore)),
		t.IssuedAt != nil && now.Add(leeway).Before(at(*t.IssuedAt)):
		return Unauthenticated("the identity token is not good yet").
			WithHint("compare the clocks of the daemon's host and the issuer")
	}
	return nil
}

// maxSubject is OIDC's own bound.
const maxSubject = 255

// principal is who the subject is, by the first rule that fits.
func (i *issuer) principal(subject string, c claims) (Principal, error) {
	if subject == "" || len(subject) > maxSubject || !printable(subject) {
		return Principal{}, Unauthenticated("the identity token's subject is not 1 to %d printable characters", maxSubject)
	}
	name := "oidc:" + subject
	if i.Name != "" {
		name = "oidc/" + i.Name + ":" + subject
	}
	for _, r := range i.rules {
		if r.fits(c) {
			return Principal{Name: name, Role: r.Role, Goldens: r.Goldens, Limits: r.Limits}, nil
		}
	}
	return Principal{}, errs.New(errs.Denied, "NO_RULE", "no rule for the issuer %s fits the identity token, in which %s", i.URL, seen(i.rules, c)).
		WithHint("ask the daemon's operator for a rule under oidc in the configuration")
}

// httpClient is for an issuer: what it says goes by TLS, and it says it itself.
func httpClient(roots *x509.CertPool) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = tlsConfig(roots)
	return &http.Client{
		Transport:     transport,
		Timeout:       askFor,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
