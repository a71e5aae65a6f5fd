package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
)

// lookEvery is how long a change of the files may go unseen.
const lookEvery = time.Second

// certificates are the server's certificate and the CAs of its clients, as the
// files have them: a connection that begins a second after a change gets the new
// ones, and those that are there go on. What can't be used is not taken: the old
// ones stay.
type certificates struct {
	cfg TLSConfig
	log *slog.Logger
	// until is told how long the certificate is good, each time it is another.
	until func(time.Time)

	mu     sync.Mutex
	looked time.Time
	was    []stamp
	now    *tls.Config
	// failed is why the files can't be used now; "" if they can.
	failed string
}

// stamp tells a file from what it was before: a change of content, of rights or
// of the file at the path changes it, whatever its time of change is set to.
type stamp struct {
	ino     uint64
	size    int64
	changed unix.Timespec
}

// openCertificates reads the files for the first time; errs.Invalid, with the key
// of the configuration, if they can't be used.
func openCertificates(cfg TLSConfig, log *slog.Logger, until func(time.Time)) (*certificates, error) {
	c := &certificates{cfg: cfg, log: log, until: until, looked: time.Now()}
	c.was = c.stamps()
	return c, c.take()
}

// take reads the files, and takes what they hold if all of it can be used.
func (c *certificates) take() error {
	cfg, err := c.cfg.load()
	if err != nil {
		return err
	}
	c.now = cfg
	c.until(cfg.Certificates[0].Leaf.NotAfter)
	return nil
}

// config is what connections are made with.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return c.current(), nil
		},
	}
}

// strict is config for connections by which nobody can show a bearer token: if
// clients have certificates at all, they have to show one.
func (c *certificates) strict() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			cfg := c.current().Clone()
			if cfg.ClientCAs != nil {
				cfg.ClientAuth = tls.RequireAndVerifyClientCert
			}
			return cfg, nil
		},
	}
}

// current looks at the files, if that has not been done just now. A change that
// comes while they are read is one for the next look: what they were is noted
// before.
func (c *certificates) current() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < lookEvery {
		return c.now
	}
	c.looked = time.Now()
	is := c.stamps()
	// What could not be used is tried again: it can become good by time alone.
	if slices.Equal(is, c.was) && c.failed == "" {
		return c.now
	}
	c.was = is
	if err := c.take(); err == nil {
		c.failed = ""
		c.log.Info("TLS files read again", "expires", c.now.Certificates[0].Leaf.NotAfter)
	} else if err.Error() != c.failed {
		c.failed = err.Error()
		c.log.Error("the changed TLS files can't be used; those before stay", "error", c.failed)
	}
	return c.now
}

// stamps are those of the files; one that is absent has an empty one.
func (c *certificates) stamps() []stamp {
	out := make([]stamp, 0, 3)
	for _, path := range []string{c.cfg.Cert, c.cfg.Key, c.cfg.ClientCA} {
		var s unix.Stat_t
		if unix.Stat(path, &s) != nil {
			s = unix.Stat_t{}
		}
		out = append(out, stamp{ino: s.Ino, size: s.Size, changed: s.Ctim})
	}
	return out
}

// load reads the files.
func (c TLSConfig) load() (*tls.Config, error) {
	if err := private(c.Key); err != nil {
		return nil, errs.Fieldf("tls.key", "%w", err)
	}
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, errs.Fieldf("tls.cert", "with the key %s: %w", c.Key, err)
	}
	if err := good(pair.Leaf); err != nil {
		return nil, errs.Fieldf("tls.cert", "%s %w", c.Cert, err)
	}
	cfg := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		// A session that is taken up again would bring a client's certificate that
		// nobody looks at.
		SessionTicketsDisabled: true,
	}
	if c.ClientCA == "" {
		return cfg, nil
	}
	cfg.ClientAuth = tls.VerifyClientCertIfGiven // there are bearer tokens too
	if cfg.ClientCAs, err = readCAs(c.ClientCA); err != nil {
		return nil, errs.Fieldf("tls.client_ca", "%w", err)
	}
	return cfg, nil
}

// describe tells what the files hold, for a check.
func (c TLSConfig) describe() (string, error) {
	if c.Cert == "" {
		return "", nil
	}
	cfg, err := c.load()
	if err != nil {
		return "", err
	}
	leaf := cfg.Certificates[0].Leaf
	names := leaf.DNSNames
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	text := fmt.Sprintf("%s until %s", strings.Join(names, ", "), leaf.NotAfter.Format(time.RFC3339))
	if c.ClientCA == "" {
		return text + "; no clients' certificates", nil
	}
	return text + "; clients' certificates by " + c.ClientCA, nil
}

// private is an error for a key that others than its owner and group may read, or
// others than its owner write.
func private(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return errs.New(errs.Invalid, "KEY_NOT_PRIVATE", "%s has mode %o: others may read or change it", path, mode).
			WithHint("chmod 600 %s", path)
	}
	return nil
}

func good(cert *x509.Certificate) error {
	switch now := time.Now(); {
	case now.After(cert.NotAfter):
		return fmt.Errorf("has expired at %s", cert.NotAfter.Format(time.RFC3339))
	case now.Before(cert.NotBefore):
		return fmt.Errorf("is not good before %s", cert.NotBefore.Format(time.RFC3339))
	}
	return nil
}

// readCAs reads a file of CAs in PEM form.
func readCAs(path string) (*x509.CertPool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, errors.New(path + " has no certificate in PEM form")
	}
	return pool, nil
}
