package command

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	var seen []string
	r := Runner{Observe: func(tool, verb string, _ time.Duration, err error) {
		seen = append(seen, tool+" "+verb)
		if err == nil {
			seen = append(seen, "went well")
		}
	}}
	out, err := r.Run(t.Context(), "greet", "sh", "-c", `echo "$1 $LC_ALL"; echo aside >&2`, "sh", "$(id)")
	if err != nil || string(out) != "$(id) C\n" {
		t.Errorf("got %q, %v", out, err)
	}
	_, err = r.Run(t.Context(), "fail", "sh", "-c", "echo why >&2; exit 3")
	var failed *Error
	if !errors.As(err, &failed) || failed.ExitCode != 3 || failed.Stderr != "why\n" || !strings.HasSuffix(err.Error(), ": why") {
		t.Errorf("got %+v", err)
	}
	if got := strings.Join(seen, ", "); got != "sh greet, went well, sh fail" {
		t.Errorf("observed %s", got)
	}
	if _, err := r.Run(t.Context(), "none", "no-such-command-here"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestReadTakesNoComplaint(t *testing.T) {
	var r Runner
	if out, err := r.Read(t.Context(), "list", "echo", "whole"); err != nil || string(out) != "whole\n" {
		t.Errorf("got %q, %v", out, err)
	}
	_, err := r.Read(t.Context(), "list", "sh", "-c", "echo a part; echo broken off >&2")
	var failed *Error
	if !errors.As(err, &failed) || failed.Stderr != "broken off\n" {
		t.Errorf("got %v", err)
	}
}

func TestTheEndOfTheContextEndsTheCommand(t *testing.T) {
	var r Runner
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Run(ctx, "wait", "sleep", "60"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	// The grandchild holds the pipes open.
	_, err := r.Run(ctx, "wait", "sh", "-c", "sleep 5 & wait")
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 4*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}

func TestStream(t *testing.T) {
	var r Runner
	read := func(dst *string) func(io.Reader) error {
		return func(out io.Reader) error {
			b, err := io.ReadAll(out)
			*dst = string(b)
			return err
		}
	}
	var got string
	if err := r.Stream(t.Context(), "say", read(&got), "echo", "whole"); err != nil || got != "whole\n" {
		t.Errorf("got %q, %v", got, err)
	}
	var failed *Error
	for _, script := range []string{"echo a part; exit 3", "echo a part; echo broken off >&2"} {
		seen := errors.New("none")
		err := r.Stream(t.Context(), "say", func(out io.Reader) error {
			_, seen = io.Copy(io.Discard, out)
			return seen
		}, "sh", "-c", script)
		if !errors.As(err, &failed) {
			t.Errorf("%s: got %v", script, err)
		}
		if script == "echo a part; exit 3" && seen == nil {
			t.Errorf("%s: what failed looked like the end", script)
		}
	}
	refusal := errors.New("no more")
	begin := time.Now()
	err := r.Stream(t.Context(), "say", func(io.Reader) error { return refusal }, "yes")
	if !errors.Is(err, refusal) || time.Since(begin) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Stream(ctx, "say", read(&got), "yes"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
