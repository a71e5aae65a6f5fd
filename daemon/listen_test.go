package daemon

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/address"
	"github.com/cloned-db/cloned/internal/need"
)

// openWay lets everybody reach the directory of a test's socket.
func openWay(t *testing.T, addr address.Address) {
	t.Helper()
	for dir := filepath.Dir(addr.Addr); strings.HasPrefix(dir, os.TempDir()) && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestListenUnix(t *testing.T) {
	addr := address.Address{Network: "unix", Addr: filepath.Join(t.TempDir(), "made", "s")}
	first, err := listen(t.Context(), addr, ownRights)
	if err != nil {
		t.Fatal(err)
	}
	if mode := modeOf(t, addr.Addr).Perm(); mode != 0o600 {
		t.Errorf("mode %v", mode)
	}
	if _, err := listen(t.Context(), addr, ownRights); !errs.Is(err, errs.Precondition) || !strings.Contains(err.Error(), "another program listens there") {
		t.Errorf("a second daemon: %v", err)
	}
	// As after kill -9: the file stays.
	first.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := listen(t.Context(), addr, ownRights)
	if err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(addr.Addr, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(t.Context(), addr, ownRights); !strings.Contains(errText(err), "is not a socket") {
		t.Errorf("over a file: %v", err)
	}
	if data, err := os.ReadFile(addr.Addr); err != nil || string(data) != "precious" {
		t.Errorf("the file is %q, %v", data, err)
	}
}

func TestListenGroup(t *testing.T) {
	need.Root(t)
	addr := address.Address{Network: "unix", Addr: filepath.Join(t.TempDir(), "s")}
	l, err := listen(t.Context(), addr, socketRights{mode: 0o660, group: 4242})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(addr.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o660 || info.Sys().(*syscall.Stat_t).Gid != 4242 {
		t.Errorf("mode %v, group %d", info.Mode(), info.Sys().(*syscall.Stat_t).Gid)
	}
}

// TestListenAll: if one address fails, none stays open.
func TestListenAll(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	socket := filepath.Join(t.TempDir(), "s")
	_, err = listenAll(t.Context(), []string{"unix://" + socket, "tcp://" + taken.Addr().String()}, ownRights)
	if !errs.Is(err, errs.Precondition) || errs.As(err).Hint == "" {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if _, err := listen(t.Context(), address.Address{Network: "tcp", Addr: "0.0.0.0:0"}, ownRights); !errs.Is(err, errs.Invalid) {
		t.Errorf("beyond loopback: %v", err)
	}
}

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
