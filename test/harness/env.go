package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Env is one daemon on one driver and one runtime, with everything it needs
// under one directory.
type Env struct {
	// Dir holds all of it; Bin the binaries.
	Dir, Bin string
	// Driver is zfs, btrfs or dir; Runtime docker or process.
	Driver, Runtime string
	// Socket is the daemon's; Metrics the base URL of its metrics listener.
	Socket, Metrics string
	// PortFirst and PortLast bound the clones' ports.
	PortFirst, PortLast int
	// Instance is the daemon's, known once it has started.
	Instance string
	// Daemon is the program that is started as cloned, by default Bin/cloned;
	// DaemonEnv what it has in its environment besides the test's own.
	Daemon    string
	DaemonEnv []string

	t      testing.TB
	daemon *exec.Cmd
	done   chan struct{} // closed when the daemon has ended, as exit says
	exit   error
	log    *os.File
	extra  string
	memory map[string]bool // shared memory that nobody used before
	// secrets must be found nowhere; said is what clonectl said to standard error.
	secrets     map[string]string
	secretsLock sync.Mutex
	said        lockedBuffer
}

// New makes the directory, the pool and the configuration, and starts nothing.
// extra is YAML appended to the configuration. All of it goes with the test.
func New(t testing.TB, driver, runtime, extra string) *Env {
	t.Helper()
	// Not t.TempDir: the user postgres must reach it, and sockets need short paths.
	dir, err := os.MkdirTemp("/var/tmp", "cloned-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	e := &Env{
		Dir: dir, Bin: binDir(t), Driver: driver, Runtime: runtime,
		Socket: filepath.Join(dir, "sock"), t: t, extra: extra, secrets: map[string]string{},
	}
	e.Daemon = filepath.Join(e.Bin, "cloned")
	e.PortFirst, e.PortLast = portRange(t)
	e.memory = orphanedMemory(t)
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("CLONED_E2E_KEEP") != "" {
			t.Logf("kept: %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("removing %s: %v", dir, err)
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the daemon's log:\n%s", tail(filepath.Join(dir, "cloned.log"), 60))
		}
	})
	e.makePool()
	e.writeConfig()
	t.Cleanup(e.teardown)
	return e
}

func binDir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("CLONED_E2E_BIN"); dir != "" {
		return dir
	}
	return Repo(t, "build/bin")
}

var ports struct {
	sync.Mutex
	next int
}

// portRange gives each Env of this process a range of its own.
func portRange(t testing.TB) (first, last int) {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	// Below those that the kernel gives out (32768 and up), to be used in turns.
	first = 21000 + ports.next%19*600
	ports.next++
	return first, first + 599
}

// Start starts the daemon and returns when it serves.
func (e *Env) Start(args ...string) {
	e.t.Helper()
	if err := e.TryStart(args...); err != nil {
		e.t.Fatalf("cloned did not start: %v\n%s", err, tail(filepath.Join(e.Dir, "cloned.log"), 40))
	}
}

// TryStart is Start for daemons that may refuse.
func (e *Env) TryStart(args ...string) error {
	e.t.Helper()
	log, err := os.OpenFile(filepath.Join(e.Dir, "cloned.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	e.log = log
	e.daemon = exec.Command(e.Daemon, append([]string{"serve", "--config", filepath.Join(e.Dir, "cloned.yaml")}, args...)...)
	e.daemon.Stdout, e.daemon.Stderr = log, log
	e.daemon.Env = append(os.Environ(), e.DaemonEnv...)
	// Its own session: a signal to the test must not be one to the daemon.
	e.daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := e.daemon.Start(); err != nil {
		return err
	}
	e.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		e.exit = cmd.Wait()
		close(done)
	}(e.daemon, e.done)
	deadline := time.Now().Add(120 * time.Second)
	for {
		select {
		case <-e.done:
			e.daemon = nil
			log.Close()
			return fmt.Errorf("it ended: %w", errors.Join(errors.New("exit"), e.exit))
		case <-time.After(20 * time.Millisecond):
		}
		var status struct{ Instance string }
		if out, err := e.command(e.t.Context(), "status", "-o", "json").Output(); err == nil && json.Unmarshal(out, &status) == nil {
			e.Instance = status.Instance
			return nil
		}
		if time.Now().After(deadline) {
			e.Kill()
			return errors.New("it does not answer")
		}
	}
}

// Kill ends the daemon as a power cut would, and waits until it is gone.
func (e *Env) Kill() { e.end(syscall.SIGKILL) }

// Stop ends the daemon as an operator would, and waits until it is gone.
func (e *Env) Stop() { e.end(syscall.SIGTERM) }

func (e *Env) end(signal syscall.Signal) {
	if e.daemon == nil {
		return
	}
	e.daemon.Process.Signal(signal)
	select {
	case <-e.done:
	case <-time.After(60 * time.Second):
		e.t.Errorf("cloned did not end within a minute of %v", signal)
		e.daemon.Process.Kill()
		<-e.done
	}
	e.daemon = nil
	e.log.Close()
}

// Ended says that no daemon runs.
func (e *Env) Ended() bool {
	if e.daemon == nil {
		return true
	}
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// AwaitEnd waits until the daemon has ended by itself.
func (e *Env) AwaitEnd() { e.end(0) }

// In has what happens until the returned function is called reported by t, which
// is a part of the test that the Env was made for.
func (e *Env) In(t testing.TB) (back func()) {
	whole := e.t
	e.t = t
	return func() { e.t = whole }
}

// PID is the running daemon's.
func (e *Env) PID() int { return e.daemon.Process.Pid }

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

func (e *Env) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(e.Bin, "clonectl"), args...)
	cmd.Env = append(os.Environ(), "CLONED_HOST=unix://"+e.Socket, "NO_COLOR=1")
	cmd.Dir = e.Dir
	return cmd
}

// Command is clonectl as a command to be run by the caller.
func (e *Env) Command(args ...string) *exec.Cmd { return e.command(e.t.Context(), args...) }

// Try runs clonectl.
func (e *Env) Try(args ...string) Result {
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := e.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	e.said.WriteString(stderr.String())
	r := Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
	if err != nil && r.Code <= 0 {
		r.Stderr += err.Error()
	}
	return r
}

// Ctl runs clonectl, fails the test if it fails, and returns what it printed.
func (e *Env) Ctl(args ...string) string {
	e.t.Helper()
	r := e.Try(args...)
	if r.Code != 0 {
		e.t.Fatalf("clonectl %s: exit %d: %s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Clone is what clonectl prints of a clone with -o json.
type Clone struct {
	ID, Name, Golden, Snapshot, Branch, Owner, State, Message string
	ExpireTime                                                string
	Generation                                                json.Number
	Restarts, OOMKills                                        int
	Labels                                                    map[string]string
	Protect                                                   bool
	Endpoint                                                  struct {
		Address, Role, Password, Database, URL string
		Port                                   int
	}
	Kept    []struct{ Generation json.Number }
	Usage   struct{ UniqueBytes, LogicalBytes json.Number }
	Timings []struct{ Phase, Took string }
}

// VolumeID is the ID of its present volume and instance.
func (c Clone) VolumeID() string { return fmt.Sprintf("c-%s-%s", c.ID, c.Generation) }

// Create makes a clone.
func (e *Env) Create(name string, args ...string) Clone {
	e.t.Helper()
	return e.parse(e.Ctl(append([]string{"create", name, "-o", "json"}, args...)...))
}

// Show returns a clone, with its credentials.
func (e *Env) Show(name string) Clone {
	e.t.Helper()
	return e.parse(e.Ctl("show", name, "-o", "json"))
}

func (e *Env) parse(out string) Clone {
	e.t.Helper()
	var c Clone
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		e.t.Fatalf("not a clone: %v: %s", err, out)
	}
	e.keepSecret("the password of clone "+c.Name, c.Endpoint.Password)
	return c
}

// Deleted returns the deleted clones that can be brought back.
func (e *Env) Deleted() []Clone { return e.list("ls", "--deleted") }

// List returns all clones.
func (e *Env) List() []Clone { return e.list("ls") }

func (e *Env) list(args ...string) []Clone {
	e.t.Helper()
	var list []Clone
	out := e.Ctl(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		e.t.Fatalf("not a list of clones: %v: %s", err, out)
	}
	return list
}

func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
