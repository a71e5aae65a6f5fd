package crash

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
)

// faults answers the daemon's question what is to happen at a point.
type faults struct {
	socket string

	mu      sync.Mutex
	reached []string // since the last arm
	armed   fault    // what is to happen, once
	met     chan struct{}
	victim  int // the process that was told to die
}

// fault is what happens when a point is reached for the nth time.
type fault struct {
	point string
	nth   int
	how   string
}

func listen(t testing.TB) *faults {
	t.Helper()
	dir, err := os.MkdirTemp("", "crash-") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	f := &faults{socket: filepath.Join(dir, "faults")}
	l, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	var answering sync.WaitGroup
	answering.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // it was closed
			}
			answering.Go(func() {
				if err := f.answer(conn); err != nil {
					t.Error("answering the daemon:", err)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		answering.Wait()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *faults) answer(conn net.Conn) error {
	defer conn.Close()
	var pid int
	var point string
	if _, err := fmt.Fscanln(conn, &pid, &point); errors.Is(err, io.EOF) {
		return nil // the daemon was killed meanwhile
	} else if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(conn, f.reach(pid, point)); err != nil && !errors.Is(err, syscall.EPIPE) {
		return err
	}
	return nil
}

// reach notes that the daemon is at a point, and says what is to happen there.
func (f *faults) reach(pid int, point string) (how string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reached = append(f.reached, point)
	if point != f.armed.point || count(f.reached, point) != f.armed.nth {
		return goOn
	}
	how, f.armed = f.armed.how, fault{}
	if how == die {
		f.victim = pid
	}
	close(f.met)
	return how
}

// arm has something happen once, or with the zero fault nothing. The channel is
// closed when it does.
func (f *faults) arm(what fault) (met <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reached, f.armed, f.met = nil, what, make(chan struct{})
	return f.met
}

// disarm returns the points that were reached since the last arm.
func (f *faults) disarm() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = fault{}
	return slices.Clone(f.reached)
}

// isAt says whether a point was reached since the last arm.
func (f *faults) isAt(point string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.reached, point)
}

func count(list []string, s string) (n int) {
	for _, have := range list {
		if have == s {
			n++
		}
	}
	return n
}
