package harness

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Outside is a directory of the host in which nobody has any business, and a port
// on which nobody should call. Whatever opens, writes or makes something there is
// noticed.
type Outside struct {
	// Dir has files to read, to include and to load, a pipe, and a socket that is
	// called as a server's is. Everybody may do everything there.
	Dir string
	// Port is open on all addresses.
	Port int

	t      testing.TB
	notify int // inotify(7)
	calls  atomic.Int64
}

// NewOutside makes one in a directory that everybody may pass through.
func NewOutside(t testing.TB, dir string) *Outside {
	t.Helper()
	o := &Outside{t: t, Dir: filepath.Join(dir, "outside")}
	if err := os.Mkdir(o.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"secret": "work_mem = '77MB'\n", "more.conf": "work_mem = '78MB'\n", "evil.so": "no library", "libpqwalreceiver.so": "none either", "hba": "local all all trust\n",
	} {
		if err := os.WriteFile(filepath.Join(o.Dir, name), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(o.Dir, "pipe"), 0o666); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", filepath.Join(o.Dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	o.count(socket)
	port, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	o.count(port)
	o.Port = port.Addr().(*net.TCPAddr).Port
	if o.notify, err = unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(o.notify) })
	if out, err := exec.Command("chmod", "-R", "a+rwX", o.Dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	o.Watch(o.Dir, unix.IN_OPEN|unix.IN_MODIFY|unix.IN_ATTRIB|unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVE)
	return o
}

// Watch has it noticed if that is done to a file, or to one in a directory.
func (o *Outside) Watch(path string, what uint32) {
	o.t.Helper()
	if _, err := unix.InotifyAddWatch(o.notify, path, what); err != nil {
		o.t.Fatal(err)
	}
}

// Touched is what was done since the last time, one for each event.
func (o *Outside) Touched() (events []string) {
	buf := make([]byte, 1<<20)
	n, err := unix.Read(o.notify, buf)
	if err != nil && err != unix.EAGAIN {
		o.t.Fatal(err)
	}
	for buf = buf[:max(n, 0)]; len(buf) >= unix.SizeofInotifyEvent; {
		mask, size := binary.NativeEndian.Uint32(buf[4:]), unix.SizeofInotifyEvent+binary.NativeEndian.Uint32(buf[12:])
		if mask&unix.IN_IGNORED == 0 { // which only says that what was watched has gone
			events = append(events, fmt.Sprintf("%#x %s", mask, unix.ByteSliceToString(buf[unix.SizeofInotifyEvent:size])))
		}
		buf = buf[size:]
	}
	return events
}

func (o *Outside) count(l net.Listener) {
	o.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			o.calls.Add(1)
			c.Close()
		}
	}()
}

// Forget forgets what was done so far, connections that were made and are still to
// be accepted too.
func (o *Outside) Forget() {
	o.t.Helper()
	o.Touched()
	before := o.calls.Load()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", o.Port))
	if err != nil {
		o.t.Fatal(err)
	}
	defer c.Close()
	// They are accepted in the order in which they were made: ours is the last, and
	// it is closed once it is counted.
	if _, err := c.Read(make([]byte, 1)); err == nil || o.calls.Load() == before {
		o.t.Fatalf("a connection that was made is not counted: %v", err)
	}
	o.calls.Store(0)
}

// Untouched fails if anything was touched, or somebody called, since the last time.
func (o *Outside) Untouched(t testing.TB, after string) {
	t.Helper()
	if events := o.Touched(); len(events) > 0 {
		t.Errorf("after %s: what is outside was touched: %q", after, events)
	}
	if n := o.calls.Swap(0); n > 0 {
		t.Errorf("after %s: %d connections were made", after, n)
	}
}
