package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/pki"
)

func newPKI(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	if err := pki.Init(dir, nil, "admin"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tlsDaemon answers at an address of this host; shown tells the name in the
// certificate that the last client showed.
func tlsDaemon(t *testing.T, host string, cfg *tls.Config) (target string, shown func() string) {
	t.Helper()
	var mu sync.Mutex
	var last string
	var opts []grpc.ServerOption
	if cfg != nil {
		cfg.VerifyConnection = func(s tls.ConnectionState) error {
			mu.Lock()
			defer mu.Unlock()
			if last = ""; len(s.PeerCertificates) > 0 {
				last = s.PeerCertificates[0].Subject.CommonName + s.PeerCertificates[0].SerialNumber.String()
			}
			return nil
		}
		opts = append(opts, grpc.Creds(credentials.NewTLS(cfg)))
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(opts...)
	healthv1.RegisterHealthServer(s, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return "tls://" + l.Addr().String(), func() string {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
}

// server is the configuration of a daemon with the directory's certificates.
func serverConfig(t *testing.T, dir string) *tls.Config {
	t.Helper()
	files := pki.Of(dir, pki.Server)
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(pki.Of(dir, pki.CA).Cert)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(data)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients}
}

func tryDial(t *testing.T, target string, files TLS) error {
	t.Helper()
	c, err := Dial(t.Context(), target, WithTLS(files))
	if err != nil {
		return err
	}
	return c.Close()
}

func filesOf(dir, client string) TLS {
	f := pki.Of(dir, client)
	return TLS{CA: pki.Of(dir, pki.CA).Cert, Cert: f.Cert, Key: f.Key}
}

func TestTLS(t *testing.T) {
	dir := newPKI(t)
	for _, host := range []string{"127.0.0.1", "::1", "localhost"} {
		target, shown := tlsDaemon(t, host, serverConfig(t, dir))
		if err := tryDial(t, target, TLS{CA: pki.Of(dir, pki.CA).Cert}); err != nil || shown() != "" {
			t.Errorf("%s: %v, shown %q", host, err, shown())
		}
		if err := tryDial(t, target, filesOf(dir, "admin")); err != nil || !strings.HasPrefix(shown(), "admin") {
			t.Errorf("%s, with a certificate: %v, shown %q", host, err, shown())
		}
	}
	target, shown := tlsDaemon(t, "127.0.0.1", serverConfig(t, dir))
	files := filesOf(dir, "admin")
	t.Setenv(EnvCA, files.CA)
	t.Setenv(EnvCert, files.Cert)
	t.Setenv(EnvKey, files.Key)
	if err := tryDial(t, target, TLS{}); err != nil || !strings.HasPrefix(shown(), "admin") {
		t.Errorf("by the environment: %v, shown %q", err, shown())
	}
}

// TestTokenByTLS: a token goes by TLS, and by nothing that others can read.
func TestTokenByTLS(t *testing.T) {
	dir := newPKI(t)
	target, _ := tlsDaemon(t, "127.0.0.1", serverConfig(t, dir))
	var shown []string
	c, err := Dial(t.Context(), target, WithToken("secret-17"), WithTLS(TLS{CA: pki.Of(dir, pki.CA).Cert}), WithDialOptions(
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			sent, _ := metadata.FromOutgoingContext(ctx)
			shown = append(shown, sent.Get("authorization")...)
			return invoke(ctx, method, req, reply, cc, opts...)
		})))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if len(shown) != 1 || shown[0] != "Bearer secret-17" {
		t.Errorf("the daemon was shown %v", shown)
	}
	if _, err := Dial(t.Context(), "tcp://192.0.2.1:7432", WithToken("secret-17")); errs.As(err).Reason != "TOKEN_IN_THE_CLEAR" {
		t.Errorf("in the clear: %v", err)
	}
}

// TestTLSRenewed: a certificate that is renewed while a client lives is the one of
// its next connection.
func TestTLSRenewed(t *testing.T) {
	dir := newPKI(t)
	target, shown := tlsDaemon(t, "127.0.0.1", serverConfig(t, dir))
	var mu sync.Mutex
	var conn net.Conn
	c, err := Dial(t.Context(), target, WithTLS(filesOf(dir, "admin")), WithDialOptions(
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			var err error
			conn, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
			return conn, err
		})))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	before := shown()
	if err := pki.Renew(dir, "admin"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	conn.Close()
	mu.Unlock()
	for shown() == before { // until the client has noticed
		if _, err := healthv1.NewHealthClient(c.conn).Check(t.Context(), &healthv1.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil && t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	if !strings.HasPrefix(before, "admin") || !strings.HasPrefix(shown(), "admin") {
		t.Errorf("first %q, then %q", before, shown())
	}
}

func TestTLSRefuses(t *testing.T) {
	dir, foreign := newPKI(t), newPKI(t)
	good, _ := tlsDaemon(t, "127.0.0.1", serverConfig(t, dir))
	elsewhere, _ := tlsDaemon(t, "127.0.0.2", serverConfig(t, dir))
	plain, _ := tlsDaemon(t, "127.0.0.1", nil)
	old := serverConfig(t, dir)
	old.MaxVersion = tls.VersionTLS12
	twelve, _ := tlsDaemon(t, "127.0.0.1", old)
	pair, ca := expired(t)
	late, _ := tlsDaemon(t, "127.0.0.1", &tls.Config{Certificates: []tls.Certificate{pair}})
	ours := filesOf(dir, "admin")
	theirs := filesOf(foreign, "admin")
	mixed := TLS{CA: ours.CA, Cert: theirs.Cert, Key: theirs.Key}
	server := filesOf(dir, pki.Server)
	for name, c := range map[string]struct {
		target string
		files  TLS
		kind   errs.Kind
		reason string
		hint   string
	}{
		"another CA":             {good, TLS{CA: theirs.CA}, errs.Denied, ReasonNotTrusted, EnvCA},
		"no CA":                  {good, TLS{}, errs.Denied, ReasonNotTrusted, EnvCA},
		"another host":           {elsewhere, ours, errs.Denied, ReasonNotTrusted, "--host"},
		"expired":                {late, TLS{CA: ca}, errs.Denied, ReasonNotTrusted, "clocks"},
		"no TLS":                 {plain, ours, errs.Denied, ReasonNotTLS, "tcp://"},
		"another CA's client":    {good, mixed, errs.Denied, ReasonCertificateRefused, EnvCert},
		"a server's certificate": {good, server, errs.Denied, ReasonCertificateRefused, EnvCert},
		"TLS 1.2":                {twelve, ours, errs.Denied, ReasonNotTLS, ""},
		"no such CA":             {good, TLS{CA: "/none"}, errs.Invalid, "INVALID_FIELD", EnvCA},
		"a CA that is none":      {good, TLS{CA: ours.Key}, errs.Invalid, "INVALID_FIELD", ""},
		"no key":                 {good, TLS{Cert: ours.Cert}, errs.Invalid, "INVALID_FIELD", EnvKey},
		"another's key":          {good, TLS{Cert: ours.Cert, Key: theirs.Key}, errs.Invalid, "INVALID_FIELD", ""},
	} {
		err := tryDial(t, c.target, c.files)
		if !errs.Is(err, c.kind) || errs.As(err).Reason != c.reason || !strings.Contains(errs.As(err).Hint, c.hint) {
			t.Errorf("%s: %v (%+v)", name, err, errs.As(err))
		}
	}
}

// expired is a certificate that was good, and the file of its CA, which it is itself.
func expired(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}
