package auth

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cloned-db/cloned/daemon/auth/authtest"
	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
)

var shopRule = Rule{
	Claims: map[string]string{"repository": "acme/shop", "ref": "refs/heads/*"},
	Role:   User, Goldens: []string{"shop"}, Limits: control.Limits{Clones: 5},
}

// trusting is an OIDC that trusts the issuer.
func trusting(i *authtest.Issuer, rules ...Rule) *OIDC {
	return NewOIDC([]Issuer{{URL: i.URL, Audience: authtest.Audience, Roots: i.Roots(), Rules: rules}})
}

func later(o *OIDC, by time.Duration) {
	for _, is := range o.issuers {
		is.keys.now = func() time.Time { return time.Now().Add(by) }
	}
}

func TestOIDCPlatforms(t *testing.T) {
	i := authtest.NewIssuer(t)
	o := trusting(i, shopRule,
		Rule{Claims: map[string]string{"project_path": "acme/*", "ref_protected": "true", "environment": "review"}, Role: Operator},
		Rule{Claims: map[string]string{"repository_owner": "acme"}, Role: Viewer},
	)
	for name, c := range map[string]struct {
		claims map[string]any
		want   Principal
	}{
		"GitHub, a branch": {authtest.GitHub("acme/shop", "refs/heads/feature/x"),
			Principal{Name: "oidc:repo:acme/shop:ref:refs/heads/feature/x", Role: User, Goldens: []string{"shop"}, Limits: control.Limits{Clones: 5}}},
		"GitHub, the first rule that fits": {authtest.GitHub("acme/shop", "refs/tags/v1"),
			Principal{Name: "oidc:repo:acme/shop:ref:refs/tags/v1", Role: Viewer}},
		"GitLab": {authtest.GitLab("acme/web/shop", "main"),
			Principal{Name: "oidc:project_path:acme/web/shop:ref_type:branch:ref:main", Role: Operator}},
	} {
		got, err := o.Verify(t.Context(), i.Token(c.claims))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if i.Asked() != 1 {
		t.Errorf("the keys were asked for %d times", i.Asked())
	}
	_, err := o.Verify(t.Context(), i.Token(authtest.GitHub("evil/shop", "refs/heads/main")))
	if !errs.Is(err, errs.Denied) || errs.As(err).Reason != "NO_RULE" {
		t.Fatalf("a stranger: %v", err)
	}
	want := `environment is absent, project_path is absent, ref is "refs/heads/main", ref_protected is "false", repository is "evil/shop", repository_owner is "evil"`
	if !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestOIDCRefuses(t *testing.T) {
	i, other := authtest.NewIssuer(t), authtest.NewIssuer(t)
	o := trusting(i, shopRule)
	job := authtest.GitHub("acme/shop", "refs/heads/main")
	with := func(name string, value any) map[string]any {
		out := map[string]any{}
		for k, v := range job {
			out[k] = v
		}
		out[name] = value
		return out
	}
	now := time.Now()
	stranger := i.Key()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	stranger.Key = key
	long := i.Key()
	long.Algorithm = string(jose.RS512)
	good := i.Token(job)
	parts := strings.Split(good, ".")
	for name, c := range map[string]struct{ token, want string }{
		"another audience":        {i.Token(with("aud", "sts.amazonaws.com")), "expected audience"},
		"no audience":             {i.Token(with("aud", nil)), "expected audience"},
		"expired":                 {i.Token(with("exp", now.Add(-leeway-time.Second).Unix())), "expired at"},
		"without an end":          {i.Token(with("exp", nil)), "has no end"},
		"not good yet":            {i.Token(with("nbf", now.Add(leeway+5*time.Second).Unix())), "not good yet"},
		"made in future":          {i.Token(with("iat", now.Add(leeway+5*time.Second).Unix())), "not good yet"},
		"another issuer":          {other.Token(job), "issuer \"" + other.URL},
		"another's in its name":   {other.Token(with("iss", i.URL)), "no public keys able to verify"},
		"issuer with a slash":     {i.Token(with("iss", i.URL+"/")), "is none of this daemon's"},
		"another key by its name": {i.SignedBy(stranger, job), "no public keys able to verify"},
		"none":                    {unsigned(t, "none", parts[1], ""), "neither one of this daemon's"},
		"None":                    {unsigned(t, "None", parts[1], ""), "neither one of this daemon's"},
		"HS256 by the public key": {confused(t, i, job), "neither one of this daemon's"},
		"RS512":                   {i.SignedBy(long, job), "neither one of this daemon's"},
		"a changed payload":       {parts[0] + "." + segment(t, with("ref", "refs/heads/x")) + "." + parts[2], "is none of this daemon's"},
		"without a signature":     {parts[0] + "." + parts[1] + ".", "no public keys able to verify"},
		"no subject":              {i.Token(with("sub", nil)), "subject"},
		"a subject with a line":   {i.Token(with("sub", "a\nb")), "subject"},
		"a long subject":          {i.Token(with("sub", strings.Repeat("x", 256))), "subject"},
		"not a token":             {"hello", "neither one of this daemon's"},
		"JSON":                    {`{"payload":"` + parts[1] + `"}`, "neither one of this daemon's"},
	} {
		p, err := o.Verify(t.Context(), c.token)
		if !errs.Is(err, errs.Denied) || errs.As(err).Reason != "UNAUTHENTICATED" || !strings.Contains(err.Error(), c.want) || !reflect.DeepEqual(p, Principal{}) {
			t.Errorf("%s: %+v, %v", name, p, err)
			continue
		}
		for _, part := range strings.Split(c.token, ".") {
			if len(part) > 8 && strings.Contains(err.Error()+errs.As(err).Hint, part) {
				t.Errorf("%s: the error tells the token: %v", name, err)
			}
		}
	}
	for name, claims := range map[string]map[string]any{
		"just expired":       with("exp", now.Add(-leeway/2).Unix()),
		"nearly good":        with("nbf", now.Add(leeway/2).Unix()),
		"several audiences":  with("aud", []string{"other", authtest.Audience}),
		"without times more": with("iat", nil),
	} {
		if _, err := o.Verify(t.Context(), i.Token(claims)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func segment(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

func unsigned(t *testing.T, alg, payload, signature string) string {
	t.Helper()
	return segment(t, map[string]string{"alg": alg, "typ": "JWT", "kid": "rsa-1"}) + "." + payload + "." + signature
}

// confused is a token whose shared secret is the issuer's public key, which
// everybody knows.
func confused(t *testing.T, i *authtest.Issuer, claims map[string]any) string {
	t.Helper()
	key := i.Key()
	public, err := key.Public().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return i.SignedBy(jose.JSONWebKey{Key: public, KeyID: "rsa-1", Algorithm: string(jose.HS256)}, claims)
}

func TestOIDCRotation(t *testing.T) {
	i := authtest.NewIssuer(t)
	o := trusting(i, shopRule)
	job := authtest.GitHub("acme/shop", "refs/heads/main")
	old := i.Token(job)
	if _, err := o.Verify(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	i.Rotate("ec-2")
	later(o, askAgain)
	if _, err := o.Verify(t.Context(), i.Token(job)); err != nil {
		t.Errorf("with the new key: %v", err)
	}
	if _, err := o.Verify(t.Context(), old); !errs.Is(err, errs.Denied) || !strings.Contains(err.Error(), `no key "rsa-1"`) {
		t.Errorf("with the old key: %v", err)
	}
	// Without a token that names a new key, a withdrawn one is found out in time.
	if i.Rotate("ec-3"); i.Asked() != 2 {
		t.Errorf("the keys were asked for %d times", i.Asked())
	}
	withdrawn := i.Token(job)
	i.Rotate("ec-4")
	later(o, askAgain+keysFor)
	if _, err := o.Verify(t.Context(), withdrawn); !errs.Is(err, errs.Denied) || i.Asked() != 3 {
		t.Errorf("with a withdrawn key: %v, asked %d times", err, i.Asked())
	}
}

// TestOIDCFlood: who sends nonsense does not make us ask the issuer, and does not
// keep others out.
func TestOIDCFlood(t *testing.T) {
	i := authtest.NewIssuer(t)
	o := trusting(i, shopRule)
	job := authtest.GitHub("acme/shop", "refs/heads/main")
	good := i.Token(job)
	unknown := i.Key()
	unknown.KeyID = "nobody's"
	bad := i.SignedBy(unknown, job)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if _, err := o.Verify(t.Context(), bad); !errs.Is(err, errs.Denied) {
					t.Errorf("nonsense: %v", err)
				}
				if _, err := o.Verify(t.Context(), good); err != nil {
					t.Errorf("a good one: %v", err)
				}
			}
		})
	}
	wg.Wait()
	// Once, or a few times if those who came first did not wait for the same answer.
	if n := i.Asked(); n > 2 {
		t.Errorf("the keys were asked for %d times", n)
	}
}

// TestOIDCDown: what can't be checked is not believed.
func TestOIDCDown(t *testing.T) {
	i := authtest.NewIssuer(t)
	o := trusting(i, shopRule)
	i.SetDown(true)
	token := i.Token(authtest.GitHub("acme/shop", "refs/heads/main"))
	for range 3 {
		_, err := o.Verify(t.Context(), token)
		if !errs.Is(err, errs.Unavailable) || !errs.As(err).Retryable || !strings.Contains(err.Error(), "503") {
			t.Fatalf("down: %v", err)
		}
	}
	i.SetDown(false)
	later(o, retry)
	if _, err := o.Verify(t.Context(), token); err != nil {
		t.Fatalf("up again: %v", err)
	}
	i.SetDown(true)
	if _, err := o.Verify(t.Context(), token); err != nil {
		t.Errorf("down, with its keys known: %v", err)
	}
	later(o, retry+keysFor)
	if _, err := o.Verify(t.Context(), token); !errs.Is(err, errs.Unavailable) {
		t.Errorf("down for long: %v", err)
	}
	if err := o.Probe(t.Context(), i.URL); !errs.Is(err, errs.Unavailable) {
		t.Errorf("probed: %v", err)
	}
	untrusted := NewOIDC([]Issuer{{URL: i.URL, Audience: authtest.Audience, Rules: []Rule{shopRule}}})
	if _, err := untrusted.Verify(t.Context(), token); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with a certificate of nobody known: %v", err)
	}
}

// TestOIDCTwoIssuers: the same subject of another issuer is somebody else.
func TestOIDCTwoIssuers(t *testing.T) {
	a, b := authtest.NewIssuer(t), authtest.NewIssuer(t)
	rules := []Rule{{Claims: map[string]string{"sub": "*"}, Role: User}}
	o := NewOIDC([]Issuer{
		{URL: a.URL, Audience: authtest.Audience, Roots: a.Roots(), Rules: rules},
		{URL: b.URL, Name: "lab", Audience: authtest.Audience, Roots: b.Roots(), Rules: rules},
	})
	for _, c := range []struct {
		issuer  *authtest.Issuer
		subject string
		want    string
	}{{a, "x", "oidc:x"}, {b, "x", "oidc/lab:x"}, {a, "lab:x", "oidc:lab:x"}} {
		if p, err := o.Verify(t.Context(), c.issuer.Token(map[string]any{"sub": c.subject})); err != nil || p.Name != c.want {
			t.Errorf("%s: %q, %v", c.want, p.Name, err)
		}
	}
	if _, err := o.Verify(t.Context(), b.SignedBy(b.Key(), map[string]any{"iss": a.URL})); !errs.Is(err, errs.Denied) {
		t.Errorf("in another's name: %v", err)
	}
}

func BenchmarkOIDC(b *testing.B) {
	i := authtest.NewIssuer(b)
	o := trusting(i, shopRule)
	token := i.Token(authtest.GitHub("acme/shop", "refs/heads/main"))
	for b.Loop() {
		if _, err := o.Verify(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
