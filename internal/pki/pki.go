package pki

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/durable"
)

// Names of what is not a client's.
const (
	CA     = "ca"
	Server = "server"
)

// Files are where a certificate and its key are.
type Files struct{ Cert, Key string }

// Of returns where those with the name are in the directory.
func Of(dir, name string) Files {
	return Files{Cert: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key")}
}

// Init makes the directory with a CA, the certificate of a server that clients
// know by these hosts (DNS names and IP addresses; this host's name and loopback
// are added), and that of a client. It makes all of it or nothing, and
// is errs.Exists if the directory is there.
func Init(dir string, also []string, client string) (err error) {
	hosts, err := newHosts(also)
	if err == nil {
		err = checkName(client)
	}
	if err != nil {
		return err
	}
	ca, caPair, err := newAuthority(caTemplate(hosts))
	if err != nil {
		return err
	}
	all := map[string]pair{CA: caPair}
	for name, t := range map[string]*x509.Certificate{Server: serverTemplate(hosts), client: clientTemplate(client)} {
		if all[name], err = ca.issue(t); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	made, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(made))
		}
	}()
	for name, p := range all {
		if err := place(Of(made, name), p); err != nil {
			return err
		}
	}
	// Others may read certificates; keys have rights of their own.
	if err := os.Chmod(made, 0o755); err != nil {
		return err
	}
	if err := os.Rename(made, dir); errors.Is(err, fs.ErrExist) {
		return errs.New(errs.Exists, "PKI_EXISTS", "%s is there, and nothing is overwritten", dir).
			WithHint("choose another --dir; to add a client: cloned pki client NAME; to renew a certificate: cloned pki renew NAME")
	} else if err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(dir))
}

// NewClient issues a certificate for a client. errs.Exists if there is one with
// the name.
func NewClient(dir, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	ca, err := loadAuthority(dir)
	if err != nil {
		return err
	}
	p, err := ca.issue(clientTemplate(name))
	if err != nil {
		return err
	}
	err = place(Of(dir, name), p)
	if errors.Is(err, fs.ErrExist) {
		return errs.New(errs.Exists, "CERTIFICATE_EXISTS", "there is a certificate or key %q in %s, and nothing is overwritten", name, dir).
			WithHint("choose another name, or renew it: cloned pki renew %s", name)
	}
	return err
}

// Renew replaces a certificate by one for the same name, hosts and use, with a
// key of its own. A daemon that uses it takes the new one by itself: between the
// two files it meets a pair that does not match, and keeps what it has.
func Renew(dir, name string) error {
	files := Of(dir, name)
	if name == CA || !namePattern.MatchString(name) {
		return errs.Fieldf("name", "%q can't be renewed: a CA is made anew, with all that it issued", name)
	}
	old, err := readCertificate(files.Cert)
	if errors.Is(err, fs.ErrNotExist) {
		return errs.New(errs.NotFound, "NO_CERTIFICATE", "there is no certificate %q: %w", name, err)
	}
	if err != nil {
		return err
	}
	ca, err := loadAuthority(dir)
	if err != nil {
		return err
	}
	t := template(old.Subject, leafLife)
	t.KeyUsage, t.ExtKeyUsage, t.DNSNames, t.IPAddresses = old.KeyUsage, old.ExtKeyUsage, old.DNSNames, old.IPAddresses
	p, err := ca.issue(t)
	if err != nil {
		return err
	}
	return errors.Join(durable.Replace(files.Key, p.key, 0o600), durable.Replace(files.Cert, p.cert, 0o644))
}

// Expiry returns the time until which a certificate is good.
func Expiry(file string) (time.Time, error) {
	cert, err := readCertificate(file)
	if err != nil {
		return time.Time{}, err
	}
	return cert.NotAfter, nil
}

func loadAuthority(dir string) (*authority, error) {
	files := Of(dir, CA)
	cert, err := os.ReadFile(files.Cert)
	if err == nil {
		var key []byte
		if key, err = os.ReadFile(files.Key); err == nil {
			return parseAuthority(pair{cert, key})
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.Precondition, "NO_CA", "there is no CA in %s: %w", dir, err).
			WithHint("make one (cloned pki init), name its directory with --dir, or put its key back for the moment")
	}
	return nil, err
}

func readCertificate(file string) (*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s is no certificate in PEM form", file)
	}
	return x509.ParseCertificate(block.Bytes)
}

// namePattern: the name is one of files, and a common name has at most 64 bytes.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

func checkName(name string) error {
	if !namePattern.MatchString(name) {
		return errs.Fieldf("name", "%q must be 1 to 64 of letters, digits, \".\", \"_\", \"@\" and \"-\", and begin with a letter or digit", name)
	}
	if name == CA || name == Server {
		return errs.Fieldf("name", "%q is not for clients", name)
	}
	return nil
}

// hosts are by what a server is known.
type hosts struct {
	names     []string
	addresses []net.IP
}

var dnsPattern = regexp.MustCompile(`^(?i:[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.(?i:[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?))*$`)

func newHosts(also []string) (hosts, error) {
	var h hosts
	name, err := os.Hostname()
	if err != nil {
		return h, err
	}
	if !dnsPattern.MatchString(name) { // a host may be called anything
		name = "localhost"
	}
	for _, host := range append([]string{name, "localhost", "127.0.0.1", "::1"}, also...) {
		ip := net.ParseIP(host)
		if v4 := ip.To4(); v4 != nil {
			ip = v4
		}
		switch {
		case ip != nil && !slices.ContainsFunc(h.addresses, ip.Equal):
			h.addresses = append(h.addresses, ip)
		case ip == nil && !dnsPattern.MatchString(host):
			return h, errs.Fieldf("host", "%q is neither a DNS name nor an IP address", host)
		case ip == nil && !slices.Contains(h.names, host):
			h.names = append(h.names, host)
		}
	}
	return h, nil
}
