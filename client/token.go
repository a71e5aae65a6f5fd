package client

import (
	"context"
	"os"
	"strings"

	"google.golang.org/grpc/metadata"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/address"
)

// Environment variables that tell Dial what to show the daemon when it is not
// given a token. If both are set, the token itself counts.
const (
	EnvToken     = "CLONED_TOKEN"
	EnvTokenFile = "CLONED_TOKEN_FILE"
)

// WithToken shows the daemon a bearer token: one of its own, or one of an issuer
// that it trusts.
func WithToken(token string) Option {
	return func(o *options) { o.token = func() (string, error) { return token, nil } }
}

// WithTokenFile is WithToken for the token in a file, which is read for each call,
// so that the token may change.
func WithTokenFile(path string) Option {
	return func(o *options) { o.token = func() (string, error) { return readToken(path) } }
}

func readToken(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", errs.New(errs.Invalid, "TOKEN_FILE", "reading the token: %w", err).
			WithHint("name the file that holds it, with --token-file or %s", EnvTokenFile)
	}
	return strings.TrimSpace(string(raw)), nil
}

// environmentToken is the token that the environment gives; nil if there is none.
func environmentToken() func() (string, error) {
	if token := os.Getenv(EnvToken); token != "" {
		return func() (string, error) { return token, nil }
	}
	if path := os.Getenv(EnvTokenFile); path != "" {
		return func() (string, error) { return readToken(path) }
	}
	if audience := os.Getenv(EnvAudience); audience != "" {
		return newJobToken(audience).get
	}
	return nil
}

// show returns a context whose call shows the daemon the token.
func (d *dialer) show(ctx context.Context) (context.Context, error) {
	if d.token == nil {
		return ctx, nil
	}
	token, err := d.token()
	if err != nil {
		return ctx, err
	}
	unfit := func(r rune) bool { return r <= ' ' || r > '~' }
	if token == "" || strings.ContainsFunc(token, unfit) { // gRPC would show it in its error
		return ctx, errs.New(errs.Invalid, "TOKEN", "what is given as a token is none: it is empty, or has spaces or the like in it")
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), nil
}

// checkToken refuses to send a token where others can read it.
func checkToken(addr address.Address) error {
	if addr.Network == "tls" || addr.Loopback() {
		return nil
	}
	return errs.New(errs.Invalid, "TOKEN_IN_THE_CLEAR", "a token is not sent to %s, for the connection is not encrypted", addr).
		WithHint("name the daemon as tls://, or reach it through its unix socket or ssh -L")
}
