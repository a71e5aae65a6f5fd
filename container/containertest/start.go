package containertest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

func (s suite) basics(t *testing.T) {
	if s.rt.Name() == "" {
		t.Error("no name")
	}
	if err := s.rt.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}
	for range 2 {
		if err := s.rt.Setup(t.Context()); err != nil {
			t.Errorf("Setup again: %v", err)
		}
		if err := s.rt.CheckSetup(t.Context()); err != nil {
			t.Errorf("CheckSetup: %v", err)
		}
	}
}

func (s suite) badInput(t *testing.T) {
	for _, id := range []string{"", "-a", "A", "a/b", "..", "a b", "a_b", "a\x00", "é", strings.Repeat("a", 64), "$(id)", "a;b"} {
		spec := container.Spec{ID: id, Image: s.Image, Argv: []string{"true"}, User: s.user}
		wantError(t, s.rt.Start(t.Context(), spec), errs.Invalid, "")
		wantError(t, s.rt.Run(t.Context(), container.Task{ID: id, Image: s.Image, Argv: []string{"true"}, User: s.user}), errs.Invalid, "")
		_, err := s.rt.Inspect(t.Context(), id)
		wantError(t, err, errs.Invalid, "")
		wantError(t, s.rt.Remove(t.Context(), id), errs.Invalid, "")
		wantError(t, s.rt.Stop(t.Context(), id, time.Second), errs.Invalid, "")
	}
	for what, change := range map[string]func(*container.Spec){
		"no image":        func(p *container.Spec) { p.Image = "" },
		"no command":      func(p *container.Spec) { p.Argv = nil },
		"empty command":   func(p *container.Spec) { p.Argv = []string{""} },
		"relative volume": func(p *container.Spec) { p.Volume = "volume" },
		"port too large":  func(p *container.Spec) { p.PublishPort = 65536 },
		"negative port":   func(p *container.Spec) { p.Port = -1 },
	} {
		spec := s.spec(t, untilKilled)
		change(&spec)
		if err := s.rt.Start(t.Context(), spec); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v, want Invalid", what, err)
		}
		s.wantAbsent(t, spec.ID)
	}
}

func (s suite) image(t *testing.T) {
	first, err := s.rt.EnsureImage(t.Context(), s.Image)
	if err != nil || first == "" {
		t.Fatalf("EnsureImage: %q, %v", first, err)
	}
	// The identity names the image, too.
	again, err := s.rt.EnsureImage(t.Context(), first)
	if err != nil || again != first {
		t.Errorf("EnsureImage of %q: %q, %v", first, again, err)
	}
	if found, err := s.rt.FindImage(t.Context(), s.Image); err != nil || found != first {
		t.Errorf("FindImage: %q, %v, want %q", found, err, first)
	}
	for _, look := range []func(context.Context, string) (string, error){s.rt.EnsureImage, s.rt.FindImage} {
		_, err = look(t.Context(), s.AbsentImage)
		if e := wantError(t, err, errs.Precondition, container.ReasonImageMissing, s.AbsentImage); e.Hint == "" {
			t.Error("no hint how to get the image")
		}
	}
}

// start checks what the process of an instance finds around it.
func (s suite) start(t *testing.T) {
	spec := s.spec(t, `id -u > uid; id -g > gid; id -G > groups; printf %s "$GREETING" > env; printf '<%s>' "$@" > args; command -v postgres > path; touch done; `+untilKilled)
	words := []string{"two words", "", `"quoted"`, "$HOME", "a\nb", "*"}
	spec.Argv = append(spec.Argv, words...)
	spec.Env = []string{"GREETING=hello = 'world'"}
	before := time.Now()
	s.mustStart(t, spec)
	awaitFile(t, spec.Volume, "done")
	in := s.inspect(t, spec.ID)
	if in.Task || in.State != container.Running {
		t.Errorf("%+v, want a running instance", in)
	}
	if in.Started.Before(before.Add(-time.Second)) || in.Started.After(time.Now().Add(time.Second)) {
		t.Errorf("started at %v, not now", in.Started)
	}
	if in, ok := listed(t, s.rt, spec.ID); !ok || in.State != container.Running || in.Task {
		t.Errorf("List says %+v, %v", in, ok)
	}
	for name, want := range map[string]string{
		"uid": fmt.Sprintln(s.user.UID), "gid": fmt.Sprintln(s.user.GID), "groups": fmt.Sprintln(s.user.GID),
		"env": "hello = 'world'", "args": "<" + strings.Join(words, "><") + ">",
	} {
		if got := read(t, spec.Volume, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if read(t, spec.Volume, "path") == "" {
		t.Error("the image's programs are not on PATH")
	}
}

func (s suite) startIsIdempotent(t *testing.T) {
	spec := s.spec(t, `echo x >> starts; touch up; `+untilKilled)
	s.mustStart(t, spec)
	awaitFile(t, spec.Volume, "up")
	first := s.inspect(t, spec.ID)
	s.mustStart(t, spec)
	if again := s.inspect(t, spec.ID); !again.Started.Equal(first.Started) {
		t.Errorf("started at %v, then at %v: not the same process", first.Started, again.Started)
	}
	if got := read(t, spec.Volume, "starts"); got != "x\n" {
		t.Errorf("it started more than once: %q", got)
	}
}

// startAtOnce starts one instance many times, and many others, at once.
func (s suite) startAtOnce(t *testing.T) {
	same := s.spec(t, `echo x >> starts; touch up; `+untilKilled)
	specs := []container.Spec{same, same, same, same}
	for range 4 {
		specs = append(specs, s.spec(t, `echo x >> starts; touch up; `+untilKilled))
	}
	failed := make([]error, len(specs))
	var all sync.WaitGroup
	for i, spec := range specs {
		all.Go(func() { failed[i] = s.rt.Start(t.Context(), spec) })
	}
	all.Wait()
	// The caller sees to it that one call for an ID runs at a time; if it does
	// not, some may be refused, and still there is one instance.
	if !slices.Contains(failed[:4], nil) {
		t.Errorf("no Start of the same succeeded: %v", failed[:4])
	}
	for i, err := range failed[4:] {
		if err != nil {
			t.Errorf("Start of %s: %v", specs[4+i].ID, err)
		}
	}
	for _, spec := range specs {
		s.mustStart(t, spec)
		awaitFile(t, spec.Volume, "up")
		if got := read(t, spec.Volume, "starts"); got != "x\n" {
			t.Errorf("%s started more than once: %q", spec.ID, got)
		}
	}
}

func (s suite) startAgain(t *testing.T) {
	spec := s.spec(t, `echo x >> starts; echo "start of $(wc -l < starts)"; exit 7`)
	for i := 1; i <= 2; i++ {
		s.mustStart(t, spec)
		if in := s.awaitState(t, spec.ID, container.Exited); in.ExitCode != 7 || in.OOMKilled || in.Started.IsZero() {
			t.Errorf("%+v, want exit code 7", in)
		}
		if in, ok := listed(t, s.rt, spec.ID); !ok || in.State != container.Exited || in.ExitCode != 7 {
			t.Errorf("List says %+v, %v", in, ok)
		}
		if got, want := read(t, spec.Volume, "starts"), strings.Repeat("x\n", i); got != want {
			t.Errorf("after %d starts: %q", i, got)
		}
	}
	// The log of a process that crashed outlives its restart.
	if got := s.log(t, spec.ID, -1); got != "start of 1\nstart of 2\n" {
		t.Errorf("log: %q", got)
	}
}

func (s suite) startWithOtherSpec(t *testing.T) {
	spec := s.spec(t, `printf "$GREETING" > env; exit 0`)
	spec.Env = []string{"GREETING=one"}
	s.mustStart(t, spec)
	s.awaitState(t, spec.ID, container.Exited)
	spec.Env = []string{"GREETING=two"}
	s.mustStart(t, spec)
	eventually(t, "the process has the new environment", func() bool { return read(t, spec.Volume, "env") == "two" })
}

func (s suite) startFails(t *testing.T) {
	for what, change := range map[string]func(*container.Spec){
		"absent image":   func(p *container.Spec) { p.Image = s.AbsentImage },
		"absent program": func(p *container.Spec) { p.Argv = []string{"no-such-program"} },
		"absent volume":  func(p *container.Spec) { p.Volume += "/absent" },
	} {
		spec := s.spec(t, untilKilled)
		change(&spec)
		err := s.rt.Start(t.Context(), spec)
		if err == nil {
			t.Errorf("%s: started", what)
		}
		if what == "absent image" {
			wantError(t, err, errs.Precondition, container.ReasonImageMissing, s.AbsentImage)
		}
		s.wantAbsent(t, spec.ID)
	}
}

func (s suite) portTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	spec := s.spec(t, untilKilled)
	spec.PublishAddr, spec.PublishPort, spec.Port = "127.0.0.1", port, 5432
	wantError(t, s.rt.Start(t.Context(), spec), errs.Exhausted, container.ReasonPortTaken, fmt.Sprint(port))
	s.wantAbsent(t, spec.ID)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.mustStart(t, spec)
}

// unprivileged checks that a process is nobody and can't become anybody.
func (s suite) unprivileged(t *testing.T) {
	status := map[string]string{}
	s.runTask(t, "cat /proc/self/status", func(line string) {
		key, value, _ := strings.Cut(line, ":")
		status[key] = strings.TrimSpace(value)
	})
	if status["NoNewPrivs"] != "1" {
		t.Errorf("NoNewPrivs is %q", status["NoNewPrivs"])
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		if strings.Trim(status[set], "0") != "" {
			t.Errorf("%s is %q", set, status[set])
		}
	}
}

func (s suite) limits(t *testing.T) {
	if !s.rt.Capabilities().Limits {
		t.Skip("the runtime says that it has no limits")
	}
	spec := s.spec(t, `for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24; do sleep 1000 & done; `+untilKilled)
	spec.Limits = container.Limits{PIDs: 16, ShmBytes: 8 << 20, CPUs: 1.5, MemoryBytes: 128 << 20}
	s.mustStart(t, spec)
	eventually(t, "the shell is refused a process", func() bool { return strings.Contains(strings.ToLower(s.log(t, spec.ID, -1)), "fork") })
}

func (s suite) outOfMemory(t *testing.T) {
	if !s.rt.Capabilities().Limits {
		t.Skip("the runtime says that it has no limits")
	}
	spec := s.spec(t, `head -c 1000000000 /dev/zero | tail -c 900000000 > /dev/null; exit 1`)
	spec.Limits.MemoryBytes = 32 << 20
	s.mustStart(t, spec)
	if in := s.awaitState(t, spec.ID, container.Exited); !in.OOMKilled {
		t.Errorf("%+v, want OOMKilled", in)
	}
}
