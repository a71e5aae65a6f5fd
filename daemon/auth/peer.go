package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os/user"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/cloned-db/cloned/errs"
)

// Peer is who is at the other end of a connection, as far as the connection
// itself tells.
type Peer struct {
	credentials.CommonAuthInfo
	// Local is true for a unix socket; what follows up to TLS is set only then, by
	// the kernel's word.
	Local    bool
	PID      int32
	UID, GID uint32
	// Groups are the process's supplementary groups when it connected.
	Groups []uint32
	// User is the user's name then, or its number if it has none.
	User string
	// TLS is set for an encrypted connection. Its VerifiedChains are those of the
	// client's certificate, if it showed one.
	TLS *tls.ConnectionState
}

// AuthType names the way in which the peer is connected.
func (p Peer) AuthType() string {
	switch {
	case p.Local:
		return "unix"
	case p.TLS != nil:
		return "tls"
	}
	return "tcp"
}

// LogValue is the peer in a log.
func (p Peer) LogValue() slog.Value {
	if !p.Local {
		return slog.StringValue(p.AuthType())
	}
	return slog.GroupValue(slog.Int("uid", int(p.UID)), slog.Int("pid", int(p.PID)))
}

// PeerOf returns who made a request.
func PeerOf(ctx context.Context) (Peer, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Peer{}, false
	}
	who, ok := p.AuthInfo.(Peer)
	return who, ok
}

// Transport is the server's transport credentials: it finds out who connects,
// and lets everybody in, so that who may do nothing is told so. Connections of
// listeners that are not Encrypted stay as they are, for they never leave the host.
type Transport struct {
	// TLS is for those of Encrypted ones.
	TLS *tls.Config
}

// ServerHandshake finds out who connected.
func (t Transport) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if e, ok := conn.(encrypted); ok {
		return e.handshake(t.TLS)
	}
	info := Peer{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}}
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return conn, info, nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	var credErr error
	if err := raw.Control(func(fd uintptr) { credErr = info.read(int(fd)) }); err != nil {
		return nil, nil, err
	}
	return conn, info, credErr
}

// read asks the kernel: unix(7), SO_PEERCRED, and SO_PEERGROUPS since Linux 4.13.
func (p *Peer) read(fd int) error {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return fmt.Errorf("asking who connected: %w", err)
	}
	p.Local, p.PID, p.UID, p.GID = true, cred.Pid, cred.Uid, cred.Gid
	if p.Groups, err = peerGroups(fd); err != nil {
		return fmt.Errorf("asking for the groups of who connected: %w", err)
	}
	p.User, err = userName(p.UID)
	return err
}

// userName is looked up once a connection, for it takes a look at a file. What
// can't be looked up is an error: a principal must not have now one name and now
// another.
func userName(uid uint32) (string, error) {
	number := strconv.FormatUint(uint64(uid), 10)
	u, err := user.LookupId(number)
	var unknown user.UnknownUserIdError
	switch {
	case err == nil:
		return u.Username, nil
	case errors.As(err, &unknown), errors.Is(err, fs.ErrNotExist): // a host may have no list of users
		return number, nil
	}
	return "", fmt.Errorf("looking up user %s: %w", number, err)
}

// peerGroups has to call the kernel itself: x/sys has the option's number but
// no function for a list of numbers.
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups)) * 4
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch errno {
		case 0:
			return groups[:size/4], nil
		case unix.ERANGE: // size now says how much room it takes
			groups = make([]uint32, size/4)
		default:
			return nil, errno
		}
	}
}

// ClientHandshake is not ours: these are credentials of a server.
func (Transport) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errs.New(errs.Internal, "NOT_A_CLIENT", "credentials of a server used by a client")
}

// Info describes the credentials.
func (Transport) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "peer"}
}

// Clone returns a copy.
func (t Transport) Clone() credentials.TransportCredentials { return t }

// OverrideServerName does nothing, for there are no names.
func (Transport) OverrideServerName(string) error { return nil }
