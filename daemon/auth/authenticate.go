package auth

import (
	"context"
	"crypto/tls"
	"strings"

	"google.golang.org/grpc/metadata"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/errs/grpcstatus"
)

// Verifier says whose a bearer token is. A token that is not good is
// Unauthenticated; no error may contain it, or a part of it.
type Verifier interface {
	Verify(ctx context.Context, token string) (Principal, error)
}

// Certificates says whose a client's certificate is that the handshake has
// verified.
type Certificates interface {
	Principal(tls.ConnectionState) (Principal, error)
}

// Authenticator finds out who makes a request: by the bearer token that it
// shows; without one by the connection, which is a unix socket or has a client's
// certificate. A token that is shown and not good is the end of it: the
// connection then counts for nothing, whoever it is from.
type Authenticator struct {
	Local Local
	// Tokens verifies what begins with TokenPrefix.
	Tokens Verifier
	// OIDC verifies all other bearer tokens; nil if there are none.
	OIDC Verifier
	// Certificates is nil if no client has one.
	Certificates Certificates
}

// Authenticate returns who makes a request that shows the bearer token ("" for
// none) through a connection of the peer.
func (a *Authenticator) Authenticate(ctx context.Context, p Peer, bearer string) (Principal, error) {
	switch {
	case strings.HasPrefix(bearer, TokenPrefix):
		return a.Tokens.Verify(ctx, bearer)
	case bearer != "" && a.OIDC != nil:
		return a.OIDC.Verify(ctx, bearer)
	case bearer != "":
		return Principal{}, Unauthenticated("the bearer token is none of this daemon's").
			WithHint("a token begins with %s: clonectl token create", TokenPrefix)
	case p.Local:
		return a.Local.Principal(p)
	case p.TLS != nil && len(p.TLS.VerifiedChains) > 0 && a.Certificates != nil:
		return a.Certificates.Principal(*p.TLS)
	}
	return Principal{}, Unauthenticated("the request does not show who makes it").
		WithHint("show a token, in $CLONED_TOKEN or the file that $CLONED_TOKEN_FILE names, or by TLS a certificate ($CLONED_CERT, $CLONED_KEY); or come through the unix socket")
}

// TokenPrefix is how our own tokens begin: a bearer that begins otherwise is
// somebody else's.
const TokenPrefix = "cloned_"

// maxBearer bounds what is looked at as a token: those of CI platforms have
// about 2 KiB.
const maxBearer = 16 << 10

// Bearer returns the bearer token that a request shows; "" if it shows none.
func Bearer(ctx context.Context) (string, error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) == 0 {
		return "", nil
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxBearer {
		return "", Unauthenticated("the request's authorization is not one bearer token of at most %d bytes", maxBearer)
	}
	return token, nil
}

// Unauthenticated is the error for a request of which it is not known who makes it.
func Unauthenticated(format string, args ...any) *errs.Error {
	return errs.New(errs.Denied, grpcstatus.ReasonUnauthenticated, format, args...)
}
