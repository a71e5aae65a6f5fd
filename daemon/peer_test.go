package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/errs/grpcstatus"
	"github.com/cloned-db/cloned/internal/address"
	"github.com/cloned-db/cloned/internal/need"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// connectAs connects as somebody else: Linux has credentials for each thread,
// and this one ends with its goroutine, for it stays locked to it.
func connectAs(ctx context.Context, addr address.Address, uid, gid uint32, groups []uint32) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread()
		var list unsafe.Pointer
		if len(groups) > 0 {
			list = unsafe.Pointer(&groups[0])
		}
		_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(list), 0)
		if errno == 0 {
			_, _, errno = unix.RawSyscall(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid))
		}
		if errno == 0 {
			_, _, errno = unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
		}
		if errno != 0 {
			done <- result{nil, errno}
			return
		}
		conn, err := new(net.Dialer).DialContext(ctx, addr.Network, addr.Addr)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// TestPeers calls as various users over a real socket: of all roles that fit one,
// the highest holds.
func TestPeers(t *testing.T) {
	need.Root(t)
	const userA, userB, groupOne, groupTwo = 1234, 1235, 4242, 4243
	many := make([]uint32, 100) // more than the first guess of peerGroups
	for i := range many {
		many[i] = uint32(5000 + i)
	}
	who := own()
	who.Local.Users = map[uint32]auth.Role{userA: auth.Viewer}
	who.Local.Groups = map[uint32]auth.Role{groupOne: auth.User, groupTwo: auth.Operator}
	var seen auth.Principal
	_, addr, log := startServer(t, &fakeClones{seen: func(ctx context.Context) { seen, _ = auth.From(ctx) }}, who)
	openToAll(t, addr)
	for _, c := range []struct {
		name     string
		uid, gid uint32
		groups   []uint32
		role     auth.Role
	}{
		{"root", 0, 0, nil, auth.Admin},
		{"user", userA, 1234, nil, auth.Viewer},
		{"another", userB, 1235, nil, auth.NoRole},
		{"in other groups", userB, 1235, []uint32{1, 2}, auth.NoRole},
		{"primary group", userB, groupOne, nil, auth.User},
		{"supplementary group", userB, 1235, []uint32{7, groupOne}, auth.User},
		{"two groups", userB, groupOne, []uint32{groupTwo}, auth.Operator},
		{"user, and a group with more", userA, 1234, []uint32{groupTwo}, auth.Operator},
		{"many groups", userB, 1235, many, auth.NoRole},
		{"many groups and the one", userB, 1235, append(slices.Clone(many), groupTwo), auth.Operator},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen = auth.Principal{}
			conn := dial(t, addr, client.WithDialOptions(
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					return connectAs(ctx, addr, c.uid, c.gid, c.groups)
				})))
			_, err := conn.Clones.GetClone(t.Context(), &clonedv1.GetCloneRequest{Name: "fine"})
			name := fmt.Sprint("unix:", c.uid)
			if c.uid == 0 {
				name = "unix:root"
			}
			switch {
			case c.role == auth.NoRole:
				if e := errs.As(err); !errs.Is(err, errs.Denied) || e.Reason != grpcstatus.ReasonUnauthenticated || e.Hint == "" {
					t.Errorf("got %v", err)
				}
				if len(log.lines(fmt.Sprint("peer.uid=", c.uid))) == 0 {
					t.Error("the log does not tell who it was")
				}
			case err != nil:
				t.Fatal(err)
			case seen.Role != c.role || seen.Name != name:
				t.Errorf("is %s, a %s, and should be %s, a %s", seen.Name, seen.Role, name, c.role)
			case len(log.lines("principal="+name)) == 0:
				t.Error("the log does not tell who it was")
			}
		})
	}
}

// TestSocketRights: the file system keeps strangers out already.
func TestSocketRights(t *testing.T) {
	need.Root(t)
	_, addr, _ := startServer(t, &fakeClones{}, own())
	openWay(t, addr)
	_, err := client.Dial(t.Context(), addr.String(), client.WithDialOptions(
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return connectAs(ctx, addr, 1234, 1234, nil)
		})))
	if err == nil {
		t.Error("a stranger came in")
	}
}

// TestOwnUser: a daemon that is not root has its own user as admin, and root.
func TestOwnUser(t *testing.T) {
	l := auth.Local{Own: 1000}
	for uid, want := range map[uint32]auth.Role{0: auth.Admin, 1000: auth.Admin, 1001: auth.NoRole} {
		p, err := l.Principal(auth.Peer{Local: true, UID: uid, User: fmt.Sprint(uid)})
		if p.Role != want || (err == nil) != (want != auth.NoRole) {
			t.Errorf("user %d: %v, %v", uid, p, err)
		}
	}
}

func TestPeerInLog(t *testing.T) {
	if got := (auth.Peer{Local: true, UID: 7, PID: 8}).LogValue().String(); got != "[uid=7 pid=8]" {
		t.Error(got)
	}
	if got := (auth.Peer{}).LogValue(); got.Kind() != slog.KindString || got.String() != "tcp" {
		t.Error(got)
	}
}

// openToAll takes away what the file system itself would refuse.
func openToAll(t *testing.T, addr address.Address) {
	t.Helper()
	openWay(t, addr)
	if err := os.Chmod(addr.Addr, 0o666); err != nil {
		t.Fatal(err)
	}
}
