package docker_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// nameServer is the host's name server. It refuses to answer and remembers the
// questions.
type nameServer struct {
	mu    sync.Mutex
	asked []string
}

func serveNames(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &nameServer{}
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if n < 12 {
				continue
			}
			// The question follows the header as labels, each after its length.
			name, _, _ := strings.Cut(string(buf[12:n]), "\x00")
			s.mu.Lock()
			s.asked = append(s.asked, name)
			s.mu.Unlock()
			buf[2], buf[3] = buf[2]|0x80, 5 // an answer: refused
			if _, err := conn.WriteTo(buf[:n], from); err != nil {
				return
			}
		}
	}()
	return s
}

func (s *nameServer) wasAsked(word string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.asked, func(name string) bool { return strings.Contains(name, word) })
}

// nameServer checks that no question for a name, hence no data in one, gets to
// the host's name server through the engine's.
func (w *private) nameServer(t *testing.T) {
	ask := "timeout 3 psql -h %s.example.net -c 'select 1' 2>&1; true"
	w.docker(t, "network", "create", "plain")
	t.Cleanup(func() { w.docker(t, "network", "rm", "plain") })
	w.docker(t, "run", "--rm", "--network", "plain", image, "sh", "-c", fmt.Sprintf(ask, "control"))
	if !w.names.wasAsked("control") {
		t.Error("the control's question does not get to the host's name server")
	}
	w.start(t, "asker", "sleep", "1000")
	begin := time.Now()
	out := w.docker(t, "exec", "cloned-private-asker", "sh", "-c", fmt.Sprintf(ask, "tunnel"))
	if w.names.wasAsked("tunnel") || !strings.Contains(out, "could not translate host name") {
		t.Errorf("its question got to the host's name server: %v: %s", w.names.wasAsked("tunnel"), out)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %v to learn that there is no name server", took)
	}
}
