package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/metadata"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/daemon/auth/authtest"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/errs/grpcstatus"
	"github.com/cloned-db/cloned/internal/address"
	"github.com/cloned-db/cloned/internal/pki"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// newPKI makes a CA with certificates of the server and of clients.
func newPKI(t *testing.T, clients ...string) (string, TLSConfig) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	if err := pki.Init(dir, nil, "admin"); err != nil {
		t.Fatal(err)
	}
	for _, name := range clients {
		if err := pki.NewClient(dir, name); err != nil {
			t.Fatal(err)
		}
	}
	server := pki.Of(dir, pki.Server)
	return dir, TLSConfig{Cert: server.Cert, Key: server.Key, ClientCA: pki.Of(dir, pki.CA).Cert}
}

// as are the files of a client; with "" it has no certificate.
func as(dir, name string) client.Option {
	files := client.TLS{CA: pki.Of(dir, pki.CA).Cert}
	if name != "" {
		f := pki.Of(dir, name)
		files.Cert, files.Key = f.Cert, f.Key
	}
	return client.WithTLS(files)
}

// startTLS starts a server with the certificates on loopback.
func startTLS(t *testing.T, cfg TLSConfig, clones clonedv1.CloneServiceServer, who *auth.Authenticator) (address.Address, *certificates, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	m, err := newMetrics(prometheus.NewRegistry(), "v")
	if err != nil {
		t.Fatal(err)
	}
	certs, err := openCertificates(cfg, logger, m.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newServer(logger, openGate(t, who, t.TempDir()), auth.Transport{TLS: certs.config()}, alive)
	if err != nil {
		t.Fatal(err)
	}
	clonedv1.RegisterCloneServiceServer(s.grpc, clones)
	l, err := listen(t.Context(), address.Address{Network: "tls", Addr: "127.0.0.1:0"}, ownRights)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.grpc.Serve(l) }()
	t.Cleanup(func() {
		s.grpc.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return address.Address{Network: "tls", Addr: l.Addr().String()}, certs, log
}

// lookAgain makes the next connection look at the files.
func (c *certificates) lookAgain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked = time.Time{}
}

func TestTLSIdentity(t *testing.T) {
	dir, cfg := newPKI(t, "ci-17", "nobody")
	issuer := authtest.NewIssuer(t)
	who := own()
	who.Certificates = auth.Certs{"admin": auth.Admin, "ci-17": auth.Viewer}
	who.OIDC = auth.NewOIDC([]auth.Issuer{{URL: issuer.URL, Audience: authtest.Audience, Roots: issuer.Roots(),
		Rules: []auth.Rule{{Claims: map[string]string{"repository": "acme/shop"}, Role: auth.User}}}})
	var caller auth.Principal
	addr, _, log := startTLS(t, cfg, &fakeClones{seen: func(ctx context.Context) { caller, _ = auth.From(ctx) }}, who)
	good := issuer.Token(authtest.GitHub("acme/shop", "refs/heads/main"))
	bad := issuer.Token(authtest.GitHub("evil/shop", "refs/heads/main"))
	for name, c := range map[string]struct {
		client, bearer string
		principal      string
		role           auth.Role
		reason         string
	}{
		"a certificate":                     {"admin", "", "cert:admin", auth.Admin, ""},
		"another":                           {"ci-17", "", "cert:ci-17", auth.Viewer, "ROLE_NEEDED"},
		"one without a role":                {"nobody", "", "", auth.NoRole, "NO_ROLE"},
		"nothing":                           {"", "", "", auth.NoRole, grpcstatus.ReasonUnauthenticated},
		"an identity token":                 {"", good, "oidc:repo:acme/shop:ref:refs/heads/main", auth.User, ""},
		"a token besides the certificate":   {"admin", good, "oidc:repo:acme/shop:ref:refs/heads/main", auth.User, ""},
		"a token that no rule fits":         {"admin", bad, "", auth.NoRole, "NO_RULE"},
		"a token that is changed":           {"", good + "x", "", auth.NoRole, grpcstatus.ReasonUnauthenticated},
		"a token without a role of clients": {"nobody", good, "oidc:repo:acme/shop:ref:refs/heads/main", auth.User, ""},
	} {
		caller = auth.Principal{}
		ctx := t.Context()
		if c.bearer != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.bearer)
		}
		conn := dial(t, addr, as(dir, c.client))
		_, err := conn.Clones.GetClone(ctx, &clonedv1.GetCloneRequest{Name: "fine"})
		if c.role == auth.Viewer { // who may read and not change
			if _, changeErr := conn.Clones.SuspendClone(ctx, &clonedv1.SuspendCloneRequest{Name: "fine"}); err == nil {
				err = changeErr
			}
		}
		if caller.Name != c.principal || caller.Role != c.role || (c.reason == "") != (err == nil) || err != nil && errs.As(err).Reason != c.reason {
			t.Errorf("%s: %+v, %v", name, caller, err)
		}
	}
	for _, secret := range []string{good, strings.Split(good, ".")[2], bad} {
		if len(log.lines(secret)) > 0 {
			t.Error("a token is in the log")
		}
	}
	if len(log.lines("principal=cert:admin peer=tls")) == 0 {
		t.Errorf("the log does not tell who called: %v", log.lines("call"))
	}
}

// TestTLSVersion: older versions are refused, whatever the client wants.
func TestTLSVersion(t *testing.T) {
	dir, cfg := newPKI(t)
	addr, certs, _ := startTLS(t, cfg, &fakeClones{}, own())
	if _, err := handshake(t, addr, dir, tls.VersionTLS13); err != nil {
		t.Error(err)
	}
	if _, err := handshake(t, addr, dir, tls.VersionTLS12); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.2: %v", err)
	}
	if certs.current().MinVersion != tls.VersionTLS13 || !certs.current().SessionTicketsDisabled {
		t.Error("weaker than it should be")
	}
}

func TestTLSReload(t *testing.T) {
	dir, cfg := newPKI(t)
	fake := &fakeClones{watching: make(chan struct{})}
	who := own()
	who.Certificates = auth.Certs{"admin": auth.Admin}
	addr, certs, log := startTLS(t, cfg, fake, who)
	taken := 0
	certs.until = func(until time.Time) {
		if taken++; time.Until(until) < 0 {
			t.Errorf("good until %s", until)
		}
	}
	held := dial(t, addr, as(dir, "admin"))
	stream, err := held.Clones.WatchClones(t.Context(), &clonedv1.WatchClonesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	<-fake.watching
	serial := func() string {
		t.Helper()
		leaf, err := handshake(t, addr, dir, tls.VersionTLS13)
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.String()
	}
	first := serial()
	certs.lookAgain()
	if serial() != first {
		t.Error("another certificate, without a change")
	}
	if err := pki.Renew(dir, pki.Server); err != nil {
		t.Fatal(err)
	}
	certs.lookAgain()
	second := serial()
	if second == first || len(log.lines("TLS files read again")) != 1 {
		t.Errorf("the certificate is the old one: %v", log.lines("TLS"))
	}
	// Half of a change: a pair that does not match.
	key, err := os.ReadFile(cfg.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range []func() error{
		func() error { return os.WriteFile(cfg.Key, []byte("nonsense"), 0o600) },
		func() error { return os.Remove(cfg.Key) },
		func() error { return os.WriteFile(cfg.Key, key, 0o644) },
	} {
		if err := broken(); err != nil {
			t.Fatal(err)
		}
		before := len(log.lines("can't be used"))
		for range 3 {
			certs.lookAgain()
			if serial() != second {
				t.Error("a certificate that can't be used is")
			}
		}
		if said := len(log.lines("can't be used")) - before; said != 1 {
			t.Errorf("it was said %d times", said)
		}
	}
	if err := os.Chmod(cfg.Key, 0o600); err != nil {
		t.Fatal(err)
	}
	// Another CA for clients: who has the old one's certificate stays out.
	other, _ := newPKI(t)
	data, err := os.ReadFile(pki.Of(other, pki.CA).Cert)
	if err != nil {
		t.Fatal(err)
	}
	certs.cfg.ClientCA = filepath.Join(t.TempDir(), "clients.crt")
	if err := os.WriteFile(certs.cfg.ClientCA, data, 0o644); err != nil {
		t.Fatal(err)
	}
	certs.lookAgain()
	if _, err := client.Dial(t.Context(), addr.String(), as(dir, "admin")); errs.As(err).Reason != client.ReasonCertificateRefused {
		t.Errorf("with a certificate of the CA before: %v", err)
	}
	files := pki.Of(other, "admin")
	dial(t, addr, client.WithTLS(client.TLS{CA: pki.Of(dir, pki.CA).Cert, Cert: files.Cert, Key: files.Key}))

	if taken != 2 {
		t.Errorf("files were taken %d times", taken)
	}
	// Nothing of that has touched the connection that was there.
	if _, err := held.Clones.GetClone(t.Context(), &clonedv1.GetCloneRequest{Name: "fine"}); err != nil {
		t.Error(err)
	}
	if err := stream.Context().Err(); err != nil {
		t.Error(err)
	}
}

// handshake returns the certificate that a new connection gets.
func handshake(t *testing.T, addr address.Address, dir string, version uint16) (*x509.Certificate, error) {
	t.Helper()
	roots, err := readCAs(pki.Of(dir, pki.CA).Cert)
	if err != nil {
		t.Fatal(err)
	}
	d := &tls.Dialer{Config: &tls.Config{RootCAs: roots, MinVersion: version, MaxVersion: version, NextProtos: []string{"h2"}}}
	conn, err := d.DialContext(t.Context(), "tcp", addr.Addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

func TestTLSFilesRefused(t *testing.T) {
	_, fine := newPKI(t)
	other, _ := newPKI(t)
	write := func(name, text string, mode fs.FileMode) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := os.ReadFile(fine.Key)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*TLSConfig)) TLSConfig {
		cfg := fine
		change(&cfg)
		return cfg
	}
	never := func(time.Time) { t.Error("files that can't be used are taken") }
	for name, c := range map[string]struct {
		cfg         TLSConfig
		field, want string
	}{
		"no certificate":    {with(func(c *TLSConfig) { c.Cert = "/none" }), "tls.cert", "no such file"},
		"no key":            {with(func(c *TLSConfig) { c.Key = "/none" }), "tls.key", "no such file"},
		"another's key":     {with(func(c *TLSConfig) { c.Key = pki.Of(other, pki.Server).Key }), "tls.cert", "does not match"},
		"a key for all":     {with(func(c *TLSConfig) { c.Key = write("k", string(key), 0o644) }), "tls.key", "others may read"},
		"a key to change":   {with(func(c *TLSConfig) { c.Key = write("k", string(key), 0o600); os.Chmod(c.Key, 0o660) }), "tls.key", "others may read or change"},
		"no CA":             {with(func(c *TLSConfig) { c.ClientCA = "/none" }), "tls.client_ca", "no such file"},
		"a CA that is none": {with(func(c *TLSConfig) { c.ClientCA = fine.Key }), "tls.client_ca", "no certificate"},
	} {
		if _, err := openCertificates(c.cfg, slog.New(slog.DiscardHandler), never); !errs.Is(err, errs.Invalid) || errs.As(err).Field != c.field || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if mode := write("k", string(key), 0o600); os.Chmod(mode, 0o640) == nil && private(mode) != nil {
		t.Error("a key that a group may read is refused")
	}
	leaf := &x509.Certificate{NotBefore: time.Now().Add(-time.Hour)}
	leaf.NotAfter = time.Now().Add(-time.Minute)
	if err := good(leaf); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired: %v", err)
	}
	leaf.NotAfter, leaf.NotBefore = time.Now().Add(time.Hour), time.Now().Add(time.Minute)
	if err := good(leaf); err == nil || !strings.Contains(err.Error(), "not good before") {
		t.Errorf("not yet: %v", err)
	}
}

// TestCertExpires: a connection can outlive the certificate that it was made with.
func TestCertExpires(t *testing.T) {
	leaf := &x509.Certificate{NotAfter: time.Now().Add(-time.Second)}
	leaf.Subject.CommonName = "admin"
	state := tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf}}}
	certs := auth.Certs{"admin": auth.Admin}
	if _, err := certs.Principal(state); errs.As(err).Reason != grpcstatus.ReasonUnauthenticated || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired: %v", err)
	}
	leaf.NotAfter = time.Now().Add(time.Minute)
	if p, err := certs.Principal(state); err != nil || p.Name != "cert:admin" {
		t.Errorf("good: %+v, %v", p, err)
	}
}

// TestMetricsTLS: beyond loopback the metrics are TLS, and take a certificate.
func TestMetricsTLS(t *testing.T) {
	dir, cfg := newPKI(t)
	certs, err := openCertificates(cfg, slog.New(slog.DiscardHandler), func(time.Time) {})
	if err != nil {
		t.Fatal(err)
	}
	l, err := listenMetrics(t.Context(), "0.0.0.0:0", certs)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serveHTTP(ctx, server, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	roots, err := readCAs(pki.Of(dir, pki.CA).Cert)
	if err != nil {
		t.Fatal(err)
	}
	get := func(url string, certs ...tls.Certificate) error {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certs}}}
		resp, err := c.Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var body bytes.Buffer
		if _, err := body.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			return errs.New(errs.Internal, "HTTP", "%s: %s, %v", resp.Status, body.String(), err)
		}
		return nil
	}
	files := pki.Of(dir, "admin")
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := get("https://127.0.0.1:"+port, pair); err != nil {
		t.Error(err)
	}
	if err := get("https://127.0.0.1:" + port); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("without a certificate: %v", err)
	}
	if err := get("http://127.0.0.1:" + port); err == nil {
		t.Error("it is plain HTTP")
	}
}
