package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"time"
)

// Lifetimes. A leaf's is short, for there is no list of revoked ones; it is
// renewed without a restart.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 365 * 24 * time.Hour
	// skew is how far behind a client's clock may be.
	skew = 5 * time.Minute
)

// pair is a certificate with its key, as PEM.
type pair struct{ cert, key []byte }

// authority is a CA that can issue.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// caTemplate is a CA that can sign no other CA, and certificates of servers for
// these hosts only: who trusts it need not fear for any other name.
func caTemplate(hosts hosts) *x509.Certificate {
	t := template(pkix.Name{CommonName: "cloned CA of " + hosts.names[0]}, caLife)
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign
	t.PermittedDNSDomainsCritical, t.PermittedDNSDomains = true, hosts.names
	for _, ip := range hosts.addresses {
		t.PermittedIPRanges = append(t.PermittedIPRanges, &net.IPNet{IP: ip, Mask: net.CIDRMask(8*len(ip), 8*len(ip))})
	}
	return t
}

func serverTemplate(hosts hosts) *x509.Certificate {
	t := template(pkix.Name{CommonName: hosts.names[0]}, leafLife)
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.DNSNames, t.IPAddresses = hosts.names, hosts.addresses
	return t
}

func clientTemplate(name string) *x509.Certificate {
	t := template(pkix.Name{CommonName: name}, leafLife)
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return t
}

// template has no serial number: x509 makes a random one.
func template(subject pkix.Name, life time.Duration) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{Subject: subject, NotBefore: now.Add(-skew), NotAfter: now.Add(life)}
}

// newAuthority makes a CA, which signs itself.
func newAuthority(t *x509.Certificate) (*authority, pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, pair{}, err
	}
	p, err := sign(t, &authority{cert: t, key: key}, key)
	if err != nil {
		return nil, pair{}, err
	}
	a, err := parseAuthority(p)
	return a, p, err
}

func parseAuthority(p pair) (*authority, error) {
	parsed, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		return nil, err
	}
	return &authority{cert: parsed.Leaf, key: parsed.PrivateKey.(crypto.Signer)}, nil // X509KeyPair knows no other keys
}

// issue makes a certificate with a key of its own; it does not outlive the CA's.
func (a *authority) issue(t *x509.Certificate) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	return sign(t, a, key)
}

func sign(t *x509.Certificate, by *authority, key *ecdsa.PrivateKey) (pair, error) {
	cert, err := x509.CreateCertificate(rand.Reader, t, by.cert, key.Public(), by.key)
	if err != nil {
		return pair{}, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, err
	}
	return pair{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}, nil
}
