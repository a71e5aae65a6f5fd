package daemon

import (
	"context"
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
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/address"
	"github.com/cloned-db/cloned/internal/need"
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

// TestPeers calls as various users over a real socket.
func TestPeers(t *testing.T) {
	need.Root(t)
	const group = 4242
	many := make([]uint32, 100) // more than the first guess of peerGroups
	for i := range many {
		many[i] = uint32(5000 + i)
	}
	_, addr, log := startServer(t, &fakeClones{}, group)
	openToAll(t, addr)
	for _, c := range []struct {
		name     string
		uid, gid uint32
		groups   []uint32
		allowed  bool
	}{
		{"root", 0, 0, nil, true},
		{"stranger", 1234, 1234, nil, false},
		{"stranger in other groups", 1234, 1234, []uint32{1, 2}, false},
		{"primary group", 1234, group, nil, true},
		{"supplementary group", 1234, 1234, []uint32{7, group}, true},
		{"stranger in many groups", 1234, 1234, many, false},
		{"many groups", 1234, 1234, append(slices.Clone(many), group), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := client.Dial(t.Context(), addr.String(), client.WithDialOptions(
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					return connectAs(ctx, addr, c.uid, c.gid, c.groups)
				})))
			if c.allowed {
				if err != nil {
					t.Fatal(err)
				}
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			if !errs.Is(err, errs.Denied) || errs.As(err).Hint == "" {
				t.Errorf("got %v", err)
			}
			if len(log.lines("peer.uid=1234")) == 0 {
				t.Error("the log does not tell who it was")
			}
		})
	}
}

// TestSocketRights: the file system keeps strangers out already.
func TestSocketRights(t *testing.T) {
	need.Root(t)
	_, addr, _ := startServer(t, &fakeClones{}, noGroup)
	openWay(t, addr)
	_, err := client.Dial(t.Context(), addr.String(), client.WithDialOptions(
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return connectAs(ctx, addr, 1234, 1234, nil)
		})))
	if err == nil {
		t.Error("a stranger came in")
	}
}

// TestOwnUser: a daemon that is not root lets its own user in, and root.
func TestOwnUser(t *testing.T) {
	a := access{uid: 1000}
	for uid, allowed := range map[uint32]bool{0: true, 1000: true, 1001: false} {
		if err := a.permits(Peer{Local: true, UID: uid}); (err == nil) != allowed {
			t.Errorf("user %d: %v", uid, err)
		}
	}
	if err := a.permits(Peer{}); err != nil {
		t.Errorf("over TCP: %v", err)
	}
	if err := a.check(context.Background()); !errs.Is(err, errs.Denied) {
		t.Errorf("a request from nowhere: %v", err)
	}
}

func TestPeerInLog(t *testing.T) {
	if got := (Peer{Local: true, UID: 7, PID: 8}).LogValue().String(); got != "[uid=7 pid=8]" {
		t.Error(got)
	}
	if got := (Peer{}).LogValue(); got.Kind() != slog.KindString || got.String() != "tcp" {
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
