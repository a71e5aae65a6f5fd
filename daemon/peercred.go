package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/cloned-db/cloned/errs"
)

// Peer is who is at the other end of a connection, as the kernel says.
type Peer struct {
	credentials.CommonAuthInfo
	// Local is true for a unix socket; the rest is set only then.
	Local    bool
	PID      int32
	UID, GID uint32
	// Groups are the process's supplementary groups when it connected.
	Groups []uint32
}

// AuthType names the way in which the peer was identified.
func (p Peer) AuthType() string {
	if p.Local {
		return "unix"
	}
	return "tcp"
}

// LogValue is the peer in a log.
func (p Peer) LogValue() slog.Value {
	if !p.Local {
		return slog.StringValue("tcp")
	}
	return slog.GroupValue(slog.Int("uid", int(p.UID)), slog.Int("pid", int(p.PID)))
}

// access decides who may use the API, and is the server's transport
// credentials: connections stay as they are, for they never leave the host.
type access struct {
	// uid is the daemon's own.
	uid uint32
	// group may use it too, if hasGroup.
	group    uint32
	hasGroup bool
}

func newAccess(gid int) access {
	return access{uid: uint32(os.Geteuid()), group: uint32(max(gid, 0)), hasGroup: gid >= 0}
}

// permits returns errs.Denied unless the peer may use the API. Whoever got
// through to a loopback TCP address may: the operator asked for that.
func (a access) permits(p Peer) error {
	switch {
	case !p.Local, p.UID == 0, p.UID == a.uid:
		return nil
	case a.hasGroup && (p.GID == a.group || slices.Contains(p.Groups, a.group)):
		return nil
	}
	return errs.New(errs.Denied, "PEER_NOT_ALLOWED", "user %d may not use this daemon", p.UID).
		WithHint("ask its operator to name one of your groups as socket_group, and log in again after a change of your groups")
}

// check is permits for the peer of a request. The handshake lets strangers in,
// so that they get this answer and not merely a closed connection.
func (a access) check(ctx context.Context) error {
	who, ok := peerOf(ctx)
	if !ok {
		return errs.New(errs.Denied, "PEER_UNKNOWN", "the connection's other end is unknown")
	}
	return a.permits(who)
}

// peerOf returns who made a request.
func peerOf(ctx context.Context) (Peer, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Peer{}, false
	}
	who, ok := p.AuthInfo.(Peer)
	return who, ok
}

// ServerHandshake finds out who connected.
func (access) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
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
	return nil
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
func (access) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errs.New(errs.Internal, "NOT_A_CLIENT", "credentials of a server used by a client")
}

// Info describes the credentials.
func (access) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "peer"}
}

// Clone returns a copy.
func (a access) Clone() credentials.TransportCredentials { return a }

// OverrideServerName does nothing, for there are no names.
func (access) OverrideServerName(string) error { return nil }

// String describes who may use the API, for the log.
func (a access) String() string {
	who := "root, user " + strconv.Itoa(int(a.uid))
	if a.hasGroup {
		who += ", group " + strconv.Itoa(int(a.group))
	}
	return who
}
