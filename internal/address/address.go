// Package address knows how the daemon's listening addresses are written and
// which are the defaults, so that daemon and client agree without importing
// each other.
package address

import (
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"github.com/cloned-db/cloned/errs"
)

// SystemSocket is where a daemon that runs as root listens by default.
const SystemSocket = "/run/cloned/cloned.sock"

// maxSocketPath is the longest path of a unix socket on Linux: sun_path's 108
// bytes without the closing NUL (unix(7)). macOS has 104.
const maxSocketPath = 107

// Address is where a daemon listens.
type Address struct {
	// Network is "unix", "tcp" or "tls", which is TLS over TCP.
	Network string
	// Addr is a socket's absolute path, or host:port.
	Addr string
}

// Parse reads "unix:///path", "tcp://host:port" or "tls://host:port"; anything
// else is errs.Invalid.
func Parse(text string) (Address, error) {
	u, err := url.Parse(text)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return Address{}, malformed(text)
	}
	switch u.Scheme {
	case "unix":
		return parseUnix(text, u)
	case "tcp", "tls":
		return parseTCP(text, u)
	}
	return Address{}, malformed(text)
}

func parseUnix(text string, u *url.URL) (Address, error) {
	if u.Host != "" || !filepath.IsAbs(u.Path) {
		return Address{}, malformed(text)
	}
	if len(u.Path) > maxSocketPath {
		return Address{}, invalid("address %q: the path of a unix socket has at most %d bytes, this one %d", text, maxSocketPath, len(u.Path))
	}
	return Address{Network: "unix", Addr: filepath.Clean(u.Path)}, nil
}

func parseTCP(text string, u *url.URL) (Address, error) {
	if u.Path != "" || u.Hostname() == "" || u.Port() == "" {
		return Address{}, malformed(text)
	}
	name := u.Hostname()
	if ip, err := netip.ParseAddr(name); err == nil {
		name = ip.Zone()
		if ip.Is6() && u.Host[0] != '[' {
			return Address{}, malformed(text)
		}
	}
	if strings.ContainsFunc(name, notInName) {
		return Address{}, malformed(text)
	}
	if _, err := strconv.ParseUint(u.Port(), 10, 16); err != nil {
		return Address{}, invalid("address %q: the port must be 0 to 65535", text)
	}
	return Address{Network: u.Scheme, Addr: net.JoinHostPort(u.Hostname(), u.Port())}, nil
}

// notInName says that a rune is in the name of no host and no network interface.
func notInName(r rune) bool {
	return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-._", r)
}

func malformed(text string) error {
	return invalid("address %q: must be unix:///absolute/path, tls://host:port or tcp://host:port", text)
}

func invalid(format string, args ...any) error {
	return errs.New(errs.Invalid, "INVALID_ADDRESS", format, args...)
}

// String writes the address as Parse reads it.
func (a Address) String() string {
	if a.Network != "unix" {
		return (&url.URL{Scheme: a.Network, Host: a.Addr}).String()
	}
	return (&url.URL{Scheme: a.Network, Path: a.Addr}).String()
}

// Transport is the network as package net names it.
func (a Address) Transport() string {
	if a.Network == "unix" {
		return "unix"
	}
	return "tcp"
}

// Host is the host's name or IP address; "" for a socket.
func (a Address) Host() string {
	host, _, err := net.SplitHostPort(a.Addr)
	if a.Network == "unix" || err != nil {
		return ""
	}
	return host
}

// Loopback says that only programs on this host reach the address.
func (a Address) Loopback() bool {
	if a.Network == "unix" {
		return true
	}
	host := a.Host()
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// UserSocket is where a daemon that does not run as root listens by default:
// in $XDG_RUNTIME_DIR. It is "" if that is not set.
func UserSocket() string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "cloned", "cloned.sock")
}

// Default is where a client looks for a daemon: the user's own socket if there
// is one, otherwise the system's.
func Default() Address {
	if path := UserSocket(); path != "" {
		if _, err := os.Stat(path); err == nil {
			return Address{Network: "unix", Addr: path}
		}
	}
	return Address{Network: "unix", Addr: SystemSocket}
}
