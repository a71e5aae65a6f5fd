// Package authtest has an issuer of identity tokens for tests: a real one, which
// serves discovery and keys over TLS, on loopback.
package authtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Audience is that of the tokens, unless the claims say otherwise.
const Audience = "cloned"

// RequestToken is what a job shows to get an identity token from RequestURL.
const RequestToken = "job-4711"

// Issuer is one.
type Issuer struct {
	// URL is its name and its address.
	URL string
	// Life is how long its tokens are good.
	Life time.Duration

	t      testing.TB
	server *httptest.Server

	mu    sync.Mutex
	keys  []jose.JSONWebKey // private ones; the last signs
	asked int
	down  bool
	job   map[string]any
	given int
}

// NewIssuer starts one with an RSA key. It goes with the test.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{t: t, Life: 5 * time.Minute}
	i.server = httptest.NewTLSServer(i)
	t.Cleanup(i.server.Close)
	i.URL = i.server.URL
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i.Add("rsa-1", key, jose.RS256)
	return i
}

// Add makes a key the one that signs; those before stay good.
func (i *Issuer) Add(id string, key crypto.Signer, alg jose.SignatureAlgorithm) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys, jose.JSONWebKey{Key: key, KeyID: id, Algorithm: string(alg), Use: "sig"})
}

// Rotate makes a new key of another kind the only one that is good.
func (i *Issuer) Rotate(id string) {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	i.mu.Lock()
	i.keys = nil
	i.mu.Unlock()
	i.Add(id, key, jose.ES256)
}

// SetDown makes it answer nothing of use, or serve again.
func (i *Issuer) SetDown(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// Asked is how often its keys were asked for.
func (i *Issuer) Asked() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked
}

// Roots are what its server is trusted by.
func (i *Issuer) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(i.server.Certificate())
	return pool
}

// Transport is that of clients who trust its server.
func (i *Issuer) Transport() http.RoundTripper { return i.server.Client().Transport }

// CAFile writes them into a file.
func (i *Issuer) CAFile() string {
	i.t.Helper()
	path := filepath.Join(i.t.TempDir(), "issuer.crt")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.server.Certificate().Raw})
	if err := os.WriteFile(path, text, 0o644); err != nil {
		i.t.Fatal(err)
	}
	return path
}

// Key is the key that signs.
func (i *Issuer) Key() jose.JSONWebKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[len(i.keys)-1]
}

// Token signs a token with these claims, over those that every token has; nil
// takes one away.
func (i *Issuer) Token(claims map[string]any) string {
	i.t.Helper()
	return i.SignedBy(i.Key(), claims)
}

// SignedBy is Token with a key that need not be the issuer's.
func (i *Issuer) SignedBy(key jose.JSONWebKey, claims map[string]any) string {
	i.t.Helper()
	now := time.Now()
	all := map[string]any{
		"iss": i.URL, "aud": Audience, "sub": "somebody",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(i.Life).Unix(),
	}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		i.t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return token
}

// Claims are those of one of its tokens.
func (i *Issuer) Claims(token string) map[string]any {
	i.t.Helper()
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		i.t.Fatal(err)
	}
	key := i.Key()
	claims := map[string]any{}
	if err := parsed.Claims(key.Public(), &claims); err != nil {
		i.t.Fatal(err)
	}
	return claims
}

// ServeHTTP is the issuer's server.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	down := i.down
	i.mu.Unlock()
	if down {
		http.Error(w, "maintenance", http.StatusServiceUnavailable)
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		i.answer(w, map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256"},
		})
	case "/keys":
		i.answer(w, i.public())
	case "/token":
		i.serveToken(w, r)
	default:
		http.NotFound(w, r)
	}
}

// public is the set of its keys, as others see it.
func (i *Issuer) public() jose.JSONWebKeySet {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked++
	var set jose.JSONWebKeySet
	for _, key := range i.keys {
		set.Keys = append(set.Keys, key.Public())
	}
	return set
}

func (i *Issuer) answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(body); err != nil {
		i.t.Errorf("the issuer's answer: %v", err)
	}
}
