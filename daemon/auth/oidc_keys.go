package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"

	"github.com/cloned-db/cloned/errs"
)

const (
	// keysFor is how long an issuer's keys are taken for its own without asking
	// again: one that it withdrew is good no longer.
	keysFor = time.Hour
	// askAgain and retry are how soon an issuer is asked again after it has
	// answered or failed, however many tokens name a key that is not known.
	askAgain = 10 * time.Second
	retry    = time.Second
	// askFor is how long a question may take.
	askFor = 10 * time.Second
	// maxAnswer is more than any issuer's.
	maxAnswer = 1 << 20
)

// keys are those of an issuer, asked for when they are needed. The library has a
// key set too; it asks anew for each token with a key that it does not know, keeps
// for ever what it has, and its errors do not tell a bad token from a bad issuer.
type keys struct {
	issuer string
	client *http.Client
	now    func() time.Time
	flight singleflight.Group

	mu  sync.Mutex
	set []jose.JSONWebKey
	// got is when set was; tried when it was last asked for, and err what came of it.
	got, tried time.Time
	err        error
}

func newKeys(issuer string, roots *x509.CertPool) *keys {
	return &keys{issuer: issuer, client: httpClient(roots), now: time.Now}
}

func tlsConfig(roots *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// find returns the public keys with the ID ("" for any).
func (k *keys) find(ctx context.Context, id string) ([]crypto.PublicKey, error) {
	k.mu.Lock()
	found := match(k.set, id)
	now := k.now()
	fresh := now.Sub(k.got) < keysFor
	tried, err := now.Sub(k.tried), k.err
	k.mu.Unlock()
	switch {
	case fresh && len(found) > 0:
		return found, nil
	case err != nil && tried < retry:
		return nil, err
	case fresh && err == nil && tried < askAgain:
		return nil, k.unknown(id)
	}
	set, err := k.refresh(ctx)
	if err != nil {
		return nil, err
	}
	if found = match(set, id); len(found) == 0 {
		return nil, k.unknown(id)
	}
	return found, nil
}

func (k *keys) unknown(id string) error {
	return Unauthenticated("the issuer %s has no key %.100q", k.issuer, id).
		WithHint("if it has changed its keys just now, try again in %s", askAgain)
}

// match leaves out keys that are for no signature of ours.
func match(set []jose.JSONWebKey, id string) (found []crypto.PublicKey) {
	for _, key := range set {
		if id != "" && key.KeyID != id || key.Use != "" && key.Use != "sig" {
			continue
		}
		switch key.Key.(type) {
		case *rsa.PublicKey, *ecdsa.PublicKey:
			found = append(found, key.Key)
		}
	}
	return found
}

// refresh asks the issuer. Those who want the same at the same time wait for one
// answer, each as long as it likes.
func (k *keys) refresh(ctx context.Context) ([]jose.JSONWebKey, error) {
	answer := k.flight.DoChan("", func() (any, error) {
		set, err := k.ask()
		if err != nil {
			err = errs.New(errs.Unavailable, "ISSUER_UNAVAILABLE", "the issuer %s does not tell its keys, without which its identity tokens can't be checked: %.300s", k.issuer, err.Error()).
				WithHint("try again; if it stays so, look whether the daemon's host reaches the issuer: cloned check")
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.tried, k.err = k.now(), err
		if err == nil {
			k.set, k.got = set, k.tried
		}
		return set, err
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-answer:
		set, _ := r.Val.([]jose.JSONWebKey) // nil with an error
		return set, r.Err
	}
}

// ask has a time of its own: that one who waits has gone is not the others' affair.
func (k *keys) ask() ([]jose.JSONWebKey, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askFor)
	defer cancel()
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, k.client), k.issuer)
	if err != nil {
		return nil, err
	}
	var metadata struct {
		URL string `json:"jwks_uri"`
	}
	if err := provider.Claims(&metadata); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(metadata.URL, "https://") {
		return nil, fmt.Errorf("its jwks_uri %q is no https address", metadata.URL)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, metadata.URL, nil)
	if err != nil {
		return nil, err
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", metadata.URL, resp.Status)
	}
	return readKeys(io.LimitReader(resp.Body, maxAnswer))
}

// readKeys leaves out what it does not know, as the standard has it (RFC 7517, 5).
func readKeys(r io.Reader) ([]jose.JSONWebKey, error) {
	var answer struct{ Keys []json.RawMessage }
	if err := json.NewDecoder(r).Decode(&answer); err != nil {
		return nil, fmt.Errorf("its keys: %w", err)
	}
	var set []jose.JSONWebKey
	for _, raw := range answer.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) == nil {
			set = append(set, key)
		}
	}
	if len(set) == 0 {
		return nil, fmt.Errorf("it names no key that can be read")
	}
	return set, nil
}
