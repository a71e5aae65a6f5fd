package pki

import (
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/errs"
)

func made(t *testing.T, also ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "etc", "pki")
	if err := Init(dir, also, "admin"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// content returns the files of a directory.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, entry := range list {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[entry.Name()] = string(data)
	}
	return all
}

func certificate(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	cert, err := readCertificate(Of(dir, name).Cert)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// verify verifies as the other side of a connection does.
func verify(t *testing.T, dir, name, host string, usage x509.ExtKeyUsage) error {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(certificate(t, dir, CA))
	_, err := certificate(t, dir, name).Verify(x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

func TestInit(t *testing.T) {
	dir := made(t, "db.internal", "10.1.2.3")
	for name, mode := range map[string]fs.FileMode{
		"ca.key": 0o600, "server.key": 0o600, "admin.key": 0o600, "ca.crt": 0o644, "server.crt": 0o644, "admin.crt": 0o644, ".": 0o755,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want %v", name, info, err, mode)
		}
	}
	if beside := content(t, dir); len(beside) != 6 {
		t.Errorf("there are %d files", len(beside))
	}
	if left, err := filepath.Glob(dir + ".*"); len(left) != 0 || err != nil {
		t.Errorf("left beside it: %v, %v", left, err)
	}
	for _, host := range []string{"db.internal", "localhost", "127.0.0.1", "::1", "10.1.2.3"} {
		if err := verify(t, dir, Server, host, x509.ExtKeyUsageServerAuth); err != nil {
			t.Errorf("server as %s: %v", host, err)
		}
	}
	if err := verify(t, dir, "admin", "", x509.ExtKeyUsageClientAuth); err != nil {
		t.Errorf("client: %v", err)
	}
	if err := verify(t, dir, Server, "", x509.ExtKeyUsageClientAuth); err == nil {
		t.Error("the server's certificate is one of a client")
	}
	if err := verify(t, dir, "admin", "", x509.ExtKeyUsageServerAuth); err == nil {
		t.Error("a client's certificate is one of a server")
	}
	if cn := certificate(t, dir, "admin").Subject.CommonName; cn != "admin" {
		t.Errorf("the client is %q", cn)
	}
}

// TestLimits: what the CA's key can do, and for how long anything is good.
func TestLimits(t *testing.T) {
	dir := made(t, "db.internal")
	ca := certificate(t, dir, CA)
	if !ca.MaxPathLenZero || ca.KeyUsage != x509.KeyUsageCertSign || !ca.PermittedDNSDomainsCritical {
		t.Errorf("the CA: %+v", ca)
	}
	serials := []string{ca.SerialNumber.String()}
	for _, name := range []string{Server, "admin"} {
		leaf := certificate(t, dir, name)
		serials = append(serials, leaf.SerialNumber.String())
		if life := time.Until(leaf.NotAfter); life > leafLife || life < leafLife-time.Minute {
			t.Errorf("%s lives %s", name, life)
		}
	}
	slices.Sort(serials)
	if len(slices.Compact(serials)) != 3 || len(serials[0]) < 20 {
		t.Errorf("serial numbers %v", serials)
	}
	a, err := loadAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string, tmpl *x509.Certificate) {
		t.Helper()
		p, err := a.issue(tmpl)
		if err != nil {
			t.Fatal(err)
		}
		if err := place(Of(dir, name), p); err != nil {
			t.Fatal(err)
		}
	}
	put("bank", serverTemplate(hosts{names: []string{"bank.example"}}))
	put("elsewhere", serverTemplate(hosts{names: []string{"localhost"}, addresses: []net.IP{net.ParseIP("10.9.9.9").To4()}}))
	for name, host := range map[string]string{"bank": "bank.example", "elsewhere": "10.9.9.9"} {
		if err := verify(t, dir, name, host, x509.ExtKeyUsageServerAuth); err == nil || !strings.Contains(err.Error(), "not permitted") {
			t.Errorf("it can be %s: %v", host, err)
		}
	}
	long := clientTemplate("long")
	long.NotAfter = time.Now().Add(2 * caLife)
	put("long", long)
	if leaf := certificate(t, dir, "long"); leaf.NotAfter.After(ca.NotAfter) {
		t.Error("a certificate outlives its CA")
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	dir := made(t)
	before := content(t, dir)
	if err := Init(dir, nil, "admin"); !errs.Is(err, errs.Exists) || errs.As(err).Hint == "" {
		t.Errorf("again: %v", err)
	}
	if err := NewClient(dir, "admin"); !errs.Is(err, errs.Exists) {
		t.Errorf("the client again: %v", err)
	}
	if err := NewClient(dir, "ci"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(Of(dir, "ci").Key); err != nil {
		t.Fatal(err)
	}
	if err := NewClient(dir, "ci"); !errs.Is(err, errs.Exists) {
		t.Errorf("over a certificate: %v", err)
	}
	after := content(t, dir)
	delete(after, "ci.crt")
	if len(after) != len(before) {
		t.Errorf("%d files, then %d", len(before), len(after))
	}
	for name, data := range before {
		if after[name] != data {
			t.Errorf("%s has changed", name)
		}
	}
	if left, err := filepath.Glob(filepath.Dir(dir) + "/*"); len(left) != 1 || err != nil {
		t.Errorf("left beside it: %v, %v", left, err)
	}
}

func TestNewClient(t *testing.T) {
	dir := made(t)
	if err := NewClient(dir, "ci-17@build"); err != nil {
		t.Fatal(err)
	}
	if err := verify(t, dir, "ci-17@build", "", x509.ExtKeyUsageClientAuth); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", "../x", "ca", "server", ".x", "a b", "a/b", strings.Repeat("x", 65)} {
		if err := NewClient(dir, name); !errs.Is(err, errs.Invalid) || errs.As(err).Field != "name" {
			t.Errorf("%q: %v", name, err)
		}
	}
	// As when its key is kept elsewhere.
	if err := os.Rename(Of(dir, CA).Key, filepath.Join(t.TempDir(), "ca.key")); err != nil {
		t.Fatal(err)
	}
	if err := NewClient(dir, "other"); !errs.Is(err, errs.Precondition) || errs.As(err).Hint == "" {
		t.Errorf("without the CA's key: %v", err)
	}
}

func TestRenew(t *testing.T) {
	dir := made(t, "db.internal")
	before := content(t, dir)
	for _, name := range []string{Server, "admin"} {
		if err := Renew(dir, name); err != nil {
			t.Fatal(err)
		}
		if _, err := tls.LoadX509KeyPair(Of(dir, name).Cert, Of(dir, name).Key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if info, err := os.Stat(Of(dir, name).Key); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	after := content(t, dir)
	if len(after) != len(before) {
		t.Errorf("%d files, then %d", len(before), len(after))
	}
	for name, data := range before {
		if same := after[name] == data; same != strings.HasPrefix(name, CA) {
			t.Errorf("%s: the same: %v", name, same)
		}
	}
	if err := verify(t, dir, Server, "db.internal", x509.ExtKeyUsageServerAuth); err != nil {
		t.Error(err)
	}
	if err := verify(t, dir, "admin", "", x509.ExtKeyUsageClientAuth); err != nil {
		t.Error(err)
	}
	if err := Renew(dir, CA); !errs.Is(err, errs.Invalid) {
		t.Errorf("the CA: %v", err)
	}
	if err := Renew(dir, "nobody"); !errs.Is(err, errs.NotFound) {
		t.Errorf("nobody: %v", err)
	}
}

func TestHosts(t *testing.T) {
	for _, host := range []string{"", "-x", "a..b", "*.example.org", "a b", "http://x", "x:1"} {
		if err := Init(filepath.Join(t.TempDir(), "pki"), []string{host}, "admin"); !errs.Is(err, errs.Invalid) || errs.As(err).Field != "host" {
			t.Errorf("%q: %v", host, err)
		}
	}
	h, err := newHosts([]string{"localhost", "127.0.0.1", "DB1.example"})
	if err != nil || !slices.Contains(h.names, "DB1.example") || len(h.addresses) != 2 {
		t.Errorf("%v, %v", h, err)
	}
}
