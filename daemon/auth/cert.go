package auth

import (
	"crypto/tls"
	"time"

	"github.com/cloned-db/cloned/errs"
)

// Certs gives clients' certificates their roles, by common name. A CA says who a
// client is, and the configuration what it may do: so a CA that others use too
// gives nobody a role, and a role is taken away where it was given.
type Certs map[string]Role

// Principal is Certificates'. A connection can outlive the certificate that it was
// made with.
func (c Certs) Principal(state tls.ConnectionState) (Principal, error) {
	cert := state.VerifiedChains[0][0]
	name := cert.Subject.CommonName
	if time.Now().After(cert.NotAfter) {
		return Principal{}, Unauthenticated("the certificate of %.100q has expired", name).
			WithHint("renew it, and connect again")
	}
	role := c[name]
	if role == NoRole {
		return Principal{}, errs.New(errs.Denied, "NO_ROLE", "the certificate's name %.100q has no role here", name).
			WithHint("ask the daemon's operator for a role under access.certs in the configuration")
	}
	return Principal{Name: "cert:" + name, Role: role}, nil
}
