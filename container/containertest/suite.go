package containertest

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// Subject is what the suite runs on.
type Subject struct {
	// Open opens the runtime of one installation, as each start of the daemon
	// does.
	Open func() (container.Runtime, error)
	// OpenOther opens that of another installation on the same host.
	OpenOther func() (container.Runtime, error)
	// Image has a shell, the usual tools and PostgreSQL.
	Image string
	// AbsentImage is not there and can't be had.
	AbsentImage string
	// NetworkNoneIsHost says that the runtime can't keep NetworkNone.
	NetworkNoneIsHost bool
}

// Run runs the suite. At its end nothing is left.
func Run(t *testing.T, s Subject) {
	rt := open(t, s.Open)
	if err := rt.Setup(t.Context()); err != nil {
		t.Fatalf("Setup: %v", err)
	}
	x := suite{Subject: s, rt: rt, user: rt.DefaultUser()}
	for _, c := range []struct {
		name string
		run  func(suite, *testing.T)
	}{
		{"Basics", suite.basics}, {"BadInput", suite.badInput}, {"Image", suite.image},
		{"Start", suite.start}, {"StartIsIdempotent", suite.startIsIdempotent}, {"StartAtOnce", suite.startAtOnce},
		{"StartAgain", suite.startAgain}, {"StartWithOtherSpec", suite.startWithOtherSpec},
		{"StartFails", suite.startFails}, {"PortTaken", suite.portTaken}, {"Unprivileged", suite.unprivileged},
		{"Limits", suite.limits}, {"OutOfMemory", suite.outOfMemory},
		{"Stop", suite.stop}, {"StopKills", suite.stopKills}, {"Remove", suite.remove}, {"Freeze", suite.freeze}, {"FreezeEnds", suite.freezeEnds}, {"Absent", suite.absent},
		{"Family", suite.family}, {"NewDaemon", suite.newDaemon}, {"OtherInstallation", suite.otherInstallation},
		{"Ready", suite.ready}, {"ReadyEndsWithInstance", suite.readyEndsWithInstance}, {"ReadyEndsWithContext", suite.readyEndsWithContext},
		{"Logs", suite.logs}, {"LogsFollow", suite.logsFollow}, {"Events", suite.events},
		{"Task", suite.task}, {"TaskFails", suite.taskFails}, {"TaskCancelled", suite.taskCancelled},
		{"TaskShown", suite.taskShown}, {"TaskNetwork", suite.taskNetwork},
		{"Postgres", suite.postgres},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(x, t) })
	}
	list, err := rt.List(t.Context())
	if err != nil || len(list) != 0 {
		t.Errorf("left at the end: %+v, %v", list, err)
	}
	if err := rt.Teardown(t.Context()); err != nil {
		t.Errorf("Teardown: %v", err)
	}
	if err := rt.Teardown(t.Context()); err != nil {
		t.Errorf("Teardown of nothing: %v", err)
	}
}

type suite struct {
	Subject
	rt   container.Runtime
	user container.User
}

func open(t *testing.T, opener func() (container.Runtime, error)) container.Runtime {
	t.Helper()
	rt, err := opener()
	if err != nil {
		t.Fatalf("opening the runtime: %v", err)
	}
	t.Cleanup(func() {
		if err := rt.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return rt
}

// newID returns an ID that has never been used, and removes what bears it at
// the end of the test.
func (s suite) newID(t *testing.T) string {
	t.Helper()
	id := "c-" + strings.ToLower(rand.Text()[:8]) + "-1"
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.rt.Remove(ctx, id); err != nil {
			t.Errorf("removing %s: %v", id, err)
		}
	})
	return id
}

// newVolume returns a directory that the suite's user owns and can reach.
func (s suite) newVolume(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "containertest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	volume := filepath.Join(dir, "a volume") // nothing may stumble over the space
	if err := errors.Join(os.Chmod(dir, 0o711), os.Mkdir(volume, 0o700), os.Chown(volume, s.user.UID, s.user.GID)); err != nil {
		t.Fatal(err)
	}
	return volume
}

// spec describes an instance that runs a shell script in its volume.
func (s suite) spec(t *testing.T, script string) container.Spec {
	t.Helper()
	volume := s.newVolume(t)
	return container.Spec{
		ID: s.newID(t), Image: s.Image, Volume: volume, User: s.user, StopSignal: "SIGTERM",
		Argv: []string{"sh", "-c", `cd "$0" && ` + script, s.rt.VolumePath(volume)},
	}
}

// untilKilled ends a script that shall run on: it ends with a signal at once,
// as a shell that waits in the foreground would not.
const untilKilled = `trap 'exit 0' TERM; sleep 1000 & wait`

func (s suite) mustStart(t *testing.T, spec container.Spec) {
	t.Helper()
	if err := s.rt.Start(t.Context(), spec); err != nil {
		t.Fatalf("Start: %v", err)
	}
}

func (s suite) inspect(t *testing.T, id string) container.Instance {
	t.Helper()
	in, err := s.rt.Inspect(t.Context(), id)
	if err != nil {
		t.Fatalf("Inspect: %v", err)
	}
	if in.ID != id {
		t.Fatalf("Inspect of %s describes %s", id, in.ID)
	}
	return in
}

// awaitState waits until an instance is in the state.
func (s suite) awaitState(t *testing.T, id string, want container.State) container.Instance {
	t.Helper()
	var in container.Instance
	eventually(t, "the instance changes its state", func() bool {
		in = s.inspect(t, id)
		return in.State == want
	})
	return in
}

// listed returns what List says of an ID.
func listed(t *testing.T, rt container.Runtime, id string) (container.Instance, bool) {
	t.Helper()
	list, err := rt.List(t.Context())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	at := slices.IndexFunc(list, func(in container.Instance) bool { return in.ID == id })
	if at < 0 {
		return container.Instance{}, false
	}
	return list[at], true
}

func (s suite) wantAbsent(t *testing.T, id string) {
	t.Helper()
	wantAbsent(t, s.rt, id)
}

func wantAbsent(t *testing.T, rt container.Runtime, id string) {
	t.Helper()
	if in, ok := listed(t, rt, id); ok {
		t.Errorf("List shows %+v", in)
	}
	if in, err := rt.Inspect(t.Context(), id); !errs.Is(err, errs.NotFound) {
		t.Errorf("Inspect: %+v, %v, want NotFound", in, err)
	}
}

// wantError checks an error's kind and reason, and that its message holds all
// words.
func wantError(t *testing.T, err error, kind errs.Kind, reason string, words ...string) *errs.Error {
	t.Helper()
	if !errs.Is(err, kind) {
		t.Fatalf("got error %v, want the kind %v", err, kind)
	}
	e := errs.As(err)
	if reason != "" && e.Reason != reason {
		t.Errorf("reason %s, want %s (%v)", e.Reason, reason, err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
	}
	return e
}

// eventually waits up to ten seconds for something to be so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for this: %s", what)
		}
	}
}

// read returns the content of a file of a volume, "" while it is absent.
func read(t *testing.T, volume, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(volume, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

// awaitFile waits for a file, which is there before what is written to it: scripts
// touch one when all is written.
func awaitFile(t *testing.T, volume, name string) {
	t.Helper()
	eventually(t, "the script writes "+name, func() bool {
		_, err := os.Stat(filepath.Join(volume, name))
		return err == nil
	})
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
