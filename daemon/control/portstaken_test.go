package control

import (
	"net"
	"slices"
	"testing"
)

// TestListening listens on real ports: taken are those where clones are published,
// and those of every address.
func TestListening(t *testing.T) {
	for _, c := range []struct {
		addr, listen string
		taken        bool
	}{
		{"127.0.0.1", "127.0.0.1:0", true},
		{"127.0.0.1", "0.0.0.0:0", true},
		{"127.0.0.1", "[::]:0", true},
		{"127.0.0.1", "127.0.0.2:0", false},
		{"0.0.0.0", "127.0.0.2:0", true},
		{"::1", "[::1]:0", true},
		{"::1", "127.0.0.1:0", false},
	} {
		l, err := net.Listen("tcp", c.listen)
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		taken, err := newPorts(c.addr, port, port).listening()
		if err != nil || slices.Contains(taken, port) != c.taken {
			t.Errorf("clones on %s, a listener on %s: %v, %v", c.addr, c.listen, taken, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if taken, err := newPorts(c.addr, port, port).listening(); err != nil || len(taken) > 0 {
			t.Errorf("nothing listens: %v, %v", taken, err)
		}
	}
}
