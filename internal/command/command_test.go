package command

import (
	"context"
	"errors"
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
