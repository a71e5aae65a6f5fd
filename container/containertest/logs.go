package containertest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloned-db/cloned/container"
)

func (s suite) log(t *testing.T, id string, tail int) string {
	t.Helper()
	var log strings.Builder
	if err := s.rt.Logs(t.Context(), id, tail, false, &log); err != nil {
		t.Fatalf("Logs: %v", err)
	}
	return log.String()
}

func (s suite) logs(t *testing.T) {
	spec := s.spec(t, `for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done; exit 0`)
	s.mustStart(t, spec)
	s.awaitState(t, spec.ID, container.Exited)
	all := s.log(t, spec.ID, -1)
	if strings.Count(all, "\n") != 9 || !strings.HasPrefix(all, "line 1\n") || !strings.HasSuffix(all, "line 9\n") {
		t.Errorf("all of the log: %q", all)
	}
	for tail, want := range map[int]string{0: "", 1: "line 9\n", 2: "line 8\nline 9\n", 9: all, 100: all} {
		if got := s.log(t, spec.ID, tail); got != want {
			t.Errorf("the last %d lines: %q", tail, got)
		}
	}
	// Both streams are in the log.
	spec = s.spec(t, `echo complaint >&2; exit 0`)
	s.mustStart(t, spec)
	s.awaitState(t, spec.ID, container.Exited)
	if got := s.log(t, spec.ID, -1); got != "complaint\n" {
		t.Errorf("log: %q", got)
	}
}

func (s suite) logsFollow(t *testing.T) {
	spec := s.spec(t, `echo first; while ! [ -e go ]; do sleep 0.01; done; echo last; exit 0`)
	s.mustStart(t, spec)
	var log syncBuffer
	done := make(chan error, 1)
	go func() { done <- s.rt.Logs(t.Context(), spec.ID, -1, true, &log) }()
	eventually(t, "the first line is followed", func() bool { return log.String() == "first\n" })

	// Another follower gives up earlier.
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error, 1)
	go func() { gaveUp <- s.rt.Logs(ctx, spec.ID, 0, true, new(syncBuffer)) }()
	cancel()
	if err := within(t, gaveUp); err != nil {
		t.Errorf("Logs whose context ended: %v", err)
	}

	writeFile(t, spec.Volume, "go")
	if err := within(t, done); err != nil {
		t.Errorf("Logs of an instance that ended: %v", err)
	}
	if got := log.String(); got != "first\nlast\n" {
		t.Errorf("followed: %q", got)
	}
}

func within(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("waited ten seconds in vain")
		return nil
	}
}

func writeFile(t *testing.T, volume, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(volume, name), nil, 0o644); err != nil {
		t.Error(err)
	}
}

// syncBuffer is a buffer that one goroutine writes and another reads.
type syncBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
