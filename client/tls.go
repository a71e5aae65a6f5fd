package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cloned-db/cloned/errs"
)

// Environment variables that name the files of TLS when Dial is not told them.
const (
	EnvCA   = "CLONED_CA"
	EnvCert = "CLONED_CERT"
	EnvKey  = "CLONED_KEY"
)

// TLS names files, in PEM form, for a target tls://host:port.
type TLS struct {
	// CA is what the daemon's certificate must be signed by; empty for $CLONED_CA,
	// and if that is empty for those that this system trusts.
	CA string
	// Cert and Key are this client's certificate, which says who it is; empty for
	// $CLONED_CERT and $CLONED_KEY, and if those are empty it has none. They are
	// read again for each connection.
	Cert, Key string
}

// WithTLS sets the files of TLS. They count for nothing with other targets.
func WithTLS(t TLS) Option { return func(o *options) { o.tls = t } }

// Reasons of errors of TLS.
const (
	// ReasonNotTrusted: the other end can't prove that it is the daemon.
	ReasonNotTrusted = "DAEMON_NOT_TRUSTED"
	// ReasonNotTLS: the other end does not speak TLS 1.3.
	ReasonNotTLS = "NOT_TLS"
	// ReasonCertificateRefused: the daemon does not take this client's certificate.
	ReasonCertificateRefused = "CERTIFICATE_REFUSED"
)

// config is what connections to the host are made with.
func (t TLS) config(host string) (*tls.Config, error) {
	t = TLS{cmp.Or(t.CA, os.Getenv(EnvCA)), cmp.Or(t.Cert, os.Getenv(EnvCert)), cmp.Or(t.Key, os.Getenv(EnvKey))}
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: host}
	if t.CA != "" {
		data, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, errs.Fieldf("ca", "%w", err).WithHint("name the CA's certificate in %s", EnvCA)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(data) {
			return nil, errs.Fieldf("ca", "%s has no certificate in PEM form", t.CA)
		}
	}
	if (t.Cert == "") != (t.Key == "") {
		return nil, errs.Fieldf("cert", "a certificate takes a key, and a key a certificate").WithHint("set both %s and %s", EnvCert, EnvKey)
	}
	if t.Cert == "" {
		return cfg, nil
	}
	if _, err := tls.LoadX509KeyPair(t.Cert, t.Key); err != nil {
		return nil, errs.Fieldf("cert", "with the key %s: %w", t.Key, err)
	}
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		return &pair, err
	}
	return cfg, nil
}

// credentials are those of connections to the target, and the name that it is
// called by.
func (d *dialer) credentials(t TLS) (credentials.TransportCredentials, string, error) {
	if d.target.Network != "tls" {
		return insecure.NewCredentials(), "cloned", nil
	}
	cfg, err := t.config(d.target.Host())
	if err != nil {
		return nil, "", err
	}
	return secured{credentials.NewTLS(cfg), d}, cfg.ServerName, nil
}

// secured are the library's credentials, which do not tell why a connection failed.
type secured struct {
	credentials.TransportCredentials
	d *dialer
}

func (s secured) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := s.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		s.d.last.Store(&err)
		return nil, nil, err
	}
	return &toldConn{Conn: conn, d: s.d}, info, nil
}

func (s secured) Clone() credentials.TransportCredentials {
	return secured{s.TransportCredentials.Clone(), s.d}
}

// toldConn notes what the daemon says when it ends a connection: in TLS 1.3 it
// looks at a client's certificate when the client's handshake is over.
type toldConn struct {
	net.Conn
	d *dialer
}

func (c *toldConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	var told *net.OpError
	if errors.As(err, &told) && told.Op == "remote error" {
		c.d.last.Store(&err)
	}
	return n, err
}

// Write, when it fails, reads what the daemon has said last: a connection that is
// refused mostly breaks while the client still writes.
func (c *toldConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil && c.SetReadDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = c.Read(make([]byte, 1)) // which notes it
	}
	return n, err
}

// distrust returns the error of a connection that TLS did not let come about, and
// false if that was not the reason.
func (d *dialer) distrust(err error) (error, bool) {
	var (
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
		told    *net.OpError
	)
	refuse := func(reason, format, hint string) (error, bool) {
		return errs.New(errs.Denied, reason, format, d.target, err).WithHint("%s", hint), true
	}
	const notTrusted = "the daemon at %s can't prove that it is one: %w"
	switch {
	case errors.As(err, &unknown):
		return refuse(ReasonNotTrusted, notTrusted, "name the certificate of its CA in "+EnvCA+" (cloned pki init made it as ca.crt on the daemon's host)")
	case errors.As(err, &host):
		return refuse(ReasonNotTrusted, notTrusted, "name the daemon by a name that its certificate has, or make one with this name: cloned pki init --host")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return refuse(ReasonNotTrusted, notTrusted, "compare the clocks; the daemon's operator renews its certificate with cloned pki renew server")
	case errors.As(err, &invalid):
		return refuse(ReasonNotTrusted, notTrusted, "the daemon's operator has to give it another certificate")
	case errors.As(err, &record):
		return refuse(ReasonNotTLS, "there is no TLS at %s: %w", "if it is a plain listener, name it as tcp://")
	case !errors.As(err, &told) || told.Op != "remote error":
		return nil, false
	case strings.Contains(told.Err.Error(), "protocol version"): // the library has no name for it
		return refuse(ReasonNotTLS, "there is no TLS 1.3 at %s: %w", "look whether that is a cloned daemon")
	default:
		return refuse(ReasonCertificateRefused, "the daemon at %s refuses the connection: %w", "look at the certificate in "+EnvCert+": it must be signed by the daemon's tls.client_ca, and not have expired")
	}
}
