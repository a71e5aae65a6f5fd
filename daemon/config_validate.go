package daemon

import (
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/address"
)

// Validate returns errs.Invalid, with the key as its Field, for the first
// setting that makes no sense. It looks at the configuration alone, not at the
// machine.
func (c Config) Validate() error {
	checks := []func() error{
		c.checkPaths, c.checkTLS, c.checkListen, c.checkAccess, c.checkOIDC, c.checkMetrics, c.checkChoices, c.checkClones, c.checkLimits, c.checkAudit,
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c Config) checkPaths() error {
	if c.StateDir == "" {
		return errs.Fieldf("state_dir", "must be set, for this user has no home directory")
	}
	for _, p := range []struct{ field, path string }{
		{"state_dir", c.StateDir},
		{"storage.btrfs.root", c.Storage.Btrfs.Root},
		{"storage.btrfs.pool_file", c.Storage.Btrfs.PoolFile},
		{"storage.dir.root", c.Storage.Dir.Root},
		{"tls.cert", c.TLS.Cert}, {"tls.key", c.TLS.Key}, {"tls.client_ca", c.TLS.ClientCA},
	} {
		if p.path != "" && !filepath.IsAbs(p.path) {
			return errs.Fieldf(p.field, "%q is not an absolute path", p.path)
		}
	}
	if c.Storage.Btrfs.Root != "" && c.Storage.Btrfs.PoolFile != "" {
		return errs.Fieldf("storage.btrfs.pool_file", "root is set as well: the volumes can live in one place only")
	}
	if size := c.Storage.Btrfs.PoolSize; size != 0 && size < minPool {
		return errs.Fieldf("storage.btrfs.pool_size", "must be at least 1GiB")
	}
	return nil
}

// minPool is the smallest pool that is worth making: btrfs refuses less than
// about 110 MiB, and needs several times that for its own data.
const minPool = 1 << 30

func (c Config) checkListen() error {
	if len(c.Listen) == 0 {
		return errs.Fieldf("listen", "must be set, for XDG_RUNTIME_DIR is not").
			WithHint("set it to a socket, such as unix:///home/me/.cloned.sock")
	}
	for i, text := range c.Listen {
		field := "listen[" + strconv.Itoa(i) + "]"
		addr, err := address.Parse(text)
		if err != nil {
			return errs.Fieldf(field, "%w", err)
		}
		if addr.Network == "tls" && c.TLS.Cert == "" {
			return errs.Fieldf(field, "%q takes a certificate: set tls.cert and tls.key", text).
				WithHint("make one: cloned pki init")
		}
		if addr.Network == "tcp" && !addr.Loopback() {
			return errs.Fieldf(field, "%q is not a loopback address, and plain TCP is not encrypted", text).
				WithHint("use tls:// (cloned pki init makes certificates), or listen on 127.0.0.1 or a unix socket")
		}
		if slices.Contains(c.Listen[:i], text) {
			return errs.Fieldf(field, "%q is there twice", text)
		}
	}
	return nil
}

func (c Config) checkTLS() error {
	switch t := c.TLS; {
	case t.Cert != "" && t.Key == "":
		return errs.Fieldf("tls.key", "must be set, for tls.cert is")
	case t.Cert == "" && t.Key != "":
		return errs.Fieldf("tls.cert", "must be set, for tls.key is")
	case t.Cert == "" && t.ClientCA != "":
		return errs.Fieldf("tls.cert", "must be set, for tls.client_ca is")
	case t.ClientCA == "" && len(c.Access.Certs) > 0:
		return errs.Fieldf("tls.client_ca", "must be set, for access.certs names clients' certificates")
	}
	return nil
}

func (c Config) checkAccess() error {
	for what, roles := range map[string]map[string]auth.Role{"users": c.Access.Users, "groups": c.Access.Groups, "certs": c.Access.Certs} {
		for name, role := range roles {
			if role == auth.NoRole {
				return errs.Fieldf("access."+what+"."+name, "must be a role: viewer, user, operator or admin")
			}
		}
	}
	return nil
}

func (c Config) checkMetrics() error {
	if c.MetricsListen == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(c.MetricsListen)
	if _, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil {
		return errs.Fieldf("metrics_listen", "%q is not host:port", c.MetricsListen)
	}
	if !loopback(c.MetricsListen) && c.TLS.Cert == "" {
		return errs.Fieldf("metrics_listen", "%q is not a loopback address, and elsewhere it is TLS: set tls.cert and tls.key", c.MetricsListen).
			WithHint("make a certificate (cloned pki init), or listen on 127.0.0.1")
	}
	return nil
}

func (c Config) checkAudit() error {
	switch {
	case c.Audit.MaxSize < 1<<20:
		return errs.Fieldf("audit.max_size", "must be at least 1MiB")
	case c.Audit.Files < 1:
		return errs.Fieldf("audit.files", "must be at least 1")
	}
	return nil
}

func (c Config) checkLimits() error {
	if c.Limits.Memory > 0 && c.Clones.Memory == 0 {
		return errs.Fieldf("limits.memory", "clones.memory must be set as well: what has no limit can't be counted")
	}
	all := map[string]LimitConfig{"limits.default": c.Limits.Default}
	for name, limit := range c.Limits.Principals {
		if kind, rest, ok := strings.Cut(name, ":"); !ok || kind == "" || rest == "" {
			return errs.Fieldf("limits.principals", "%q is no principal, such as unix:ann or token:ci", name)
		}
		all["limits.principals."+name] = limit
	}
	for name, limit := range c.Limits.Goldens {
		if limit.RequestsPerMinute != 0 {
			return errs.Fieldf("limits.goldens."+name, "requests_per_minute is for principals")
		}
		all["limits.goldens."+name] = limit
	}
	for field, limit := range all {
		if limit.Clones < 0 || limit.RequestsPerMinute < 0 {
			return errs.Fieldf(field, "must not be negative")
		}
	}
	return nil
}

func (c Config) checkChoices() error {
	for _, choice := range []struct {
		field, value string
		allowed      []string
	}{
		{"storage.driver", c.Storage.Driver, []string{Auto, DriverZFS, DriverBtrfs, DriverDir}},
		{"runtime.name", c.Runtime.Name, []string{Auto, RuntimeDocker, RuntimeProc}},
		{"log.level", c.Log.Level, []string{"debug", "info", "warn", "error"}},
		{"log.format", c.Log.Format, []string{"text", "json"}},
	} {
		if !slices.Contains(choice.allowed, choice.value) {
			return errs.Fieldf(choice.field, "%q is none of %s", choice.value, strings.Join(choice.allowed, ", "))
		}
	}
	return nil
}

func (c Config) checkClones() error {
	if _, err := netip.ParseAddr(c.Clones.Address); err != nil {
		return errs.Fieldf("clones.address", "%q is not an IP address", c.Clones.Address)
	}
	if c.Clones.Max < 0 {
		return errs.Fieldf("clones.max", "must not be negative")
	}
	if longest := c.Clones.MaxTTL; longest > 0 && c.Clones.DefaultTTL > longest {
		return errs.Fieldf("clones.default_ttl", "must not be longer than max_ttl")
	}
	if c.Undo.For < 0 {
		return errs.Fieldf("undo.for", "must not be negative")
	}
	if c.ReconcileInterval <= 0 {
		return errs.Fieldf("reconcile_interval", "must be more than 0s")
	}
	return nil
}
