package daemon

import (
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/cloned-db/cloned/internal/address"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// holding is a service on which a clone is held until its holder goes.
type holding struct {
	clonedv1.UnimplementedCloneServiceServer
	ended chan struct{}
}

func (h *holding) HoldClone(_ *clonedv1.HoldCloneRequest, stream grpc.ServerStreamingServer[clonedv1.HoldCloneResponse]) error {
	defer close(h.ended)
	if err := stream.Send(&clonedv1.HoldCloneResponse{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

// tunnel leads to a server, until it swallows what goes through it and leaves the
// connections open, as when a host dies.
type tunnel struct {
	mu    sync.Mutex
	black bool
}

func (tu *tunnel) swallows() bool {
	tu.mu.Lock()
	defer tu.mu.Unlock()
	return tu.black
}

func (tu *tunnel) copy(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if tu.swallows() {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func openTunnel(t *testing.T, to address.Address) (*tunnel, address.Address) {
	t.Helper()
	at := address.Address{Network: "unix", Addr: filepath.Join(t.TempDir(), "t")}
	l, err := net.Listen(at.Network, at.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	tu := &tunnel{}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			server, err := net.Dial(to.Network, to.Addr)
			if err != nil {
				client.Close() // which the client notices
				continue
			}
			go tu.copy(server, client)
			go tu.copy(client, server)
		}
	}()
	return tu, at
}

// TestVanishedHolder: a holder that can't even close its connection any more is
// noticed, and one that only has nothing to say is not taken for it.
func TestVanishedHolder(t *testing.T) {
	if sum := alive.Time + alive.Timeout; sum > 15*time.Second {
		t.Errorf("a holder that vanished is noticed after %v: the documentation says 15s", sum)
	}
	// The shortest that gRPC takes.
	asks := keepalive.ServerParameters{Time: time.Second, Timeout: 500 * time.Millisecond}
	h := &holding{ended: make(chan struct{})}
	_, addr := serveAsking(t, &logBuffer{}, own(), asks, func(s *server) { clonedv1.RegisterCloneServiceServer(s.grpc, h) })
	tu, at := openTunnel(t, addr)
	stream, err := dial(t, at).Clones.HoldClone(t.Context(), &clonedv1.HoldCloneRequest{Name: "dev"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-h.ended:
		t.Fatal("a holder that has nothing to say was taken for dead")
	case <-time.After(3 * asks.Time):
	}
	tu.mu.Lock()
	tu.black = true
	tu.mu.Unlock()
	select {
	case <-h.ended:
	case <-time.After(20 * time.Second):
		t.Error("a holder that vanished holds on")
	}
}
