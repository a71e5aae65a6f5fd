package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/address"
)

// socketRights are those of the unix sockets.
type socketRights struct {
	mode fs.FileMode
	// group owns them; noGroup for the daemon's own.
	group int
}

// listenAll opens all addresses or none.
func listenAll(ctx context.Context, addresses []string, rights socketRights) (listeners []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range listeners {
				err = errors.Join(err, l.Close())
			}
			listeners = nil
		}
	}()
	for _, text := range addresses {
		addr, err := address.Parse(text)
		if err != nil {
			return listeners, err
		}
		l, err := listen(ctx, addr, rights)
		if err != nil {
			return listeners, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func listen(ctx context.Context, addr address.Address, rights socketRights) (net.Listener, error) {
	if addr.Network == "unix" {
		return listenUnix(ctx, addr, rights)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr.Addr)
	if err != nil {
		return nil, cannotListen(addr, err)
	}
	if addr.Network == "tls" {
		return auth.Encrypted(l), nil
	}
	// Validate has looked at the name only, and a name can resolve to anything.
	if ip, ok := l.Addr().(*net.TCPAddr); !ok || !ip.IP.IsLoopback() {
		return nil, errors.Join(errs.Fieldf("listen", "%s is not a loopback address", addr), l.Close())
	}
	return l, nil
}

// listenUnix opens a socket. It is made with the umask's rights, which let nobody
// else write, before it gets its own; and each peer is checked besides.
func listenUnix(ctx context.Context, addr address.Address, rights socketRights) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(addr.Addr), 0o755); err != nil {
		return nil, cannotListen(addr, err)
	}
	if err := removeStale(ctx, addr); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", addr.Addr)
	if err != nil {
		return nil, cannotListen(addr, err)
	}
	if rights.group != noGroup {
		err = os.Chown(addr.Addr, -1, rights.group)
	}
	if err = errors.Join(err, os.Chmod(addr.Addr, rights.mode)); err != nil {
		return nil, errors.Join(cannotListen(addr, err), l.Close())
	}
	return l, nil
}

// removeStale removes the socket of a daemon that died. What is not a socket,
// or answers, is in somebody's use.
func removeStale(ctx context.Context, addr address.Address) error {
	info, err := os.Lstat(addr.Addr)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return cannotListen(addr, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return cannotListen(addr, fmt.Errorf("%s exists and is not a socket", addr.Addr))
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", addr.Addr)
	if err == nil {
		return errors.Join(cannotListen(addr, errors.New("another program listens there")), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return cannotListen(addr, err)
	}
	return os.Remove(addr.Addr)
}

func cannotListen(addr address.Address, err error) error {
	return errs.New(errs.Precondition, "CANNOT_LISTEN", "listening on %s: %w", addr, err).
		WithHint("choose another address with listen in the configuration")
}
