package postgres

import (
	"testing"
	"time"
)

// TestCheckpointSession: checkpoints one after the other take one session, in a
// database that users do not drop, and it does not stay.
func TestCheckpointSession(t *testing.T) {
	s := newSource(t)
	w := processWorld(t)
	v, facts, prepared := w.golden(s.directory(), nil)
	c := w.clone(v, facts, prepared, nil)
	c.sql("CREATE DATABASE other")
	target := c.target
	target.Database = "other"
	sql := func(sql string) [][]string {
		t.Helper()
		return askURL(t, w.engine.ConnectionURL(target), sql)
	}
	ours := func() [][]string {
		t.Helper()
		return sql("SELECT pid, datname FROM pg_stat_activity WHERE application_name = 'cloned' AND state = 'idle'")
	}
	checkpoint := func() [][]string {
		t.Helper()
		if err := w.engine.Checkpoint(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		return ours()
	}
	awaitSessions := func(n int) {
		t.Helper()
		deadline := time.Now().Add(20 * time.Second)
		for have := ours(); len(have) != n; have = ours() {
			if time.Now().After(deadline) {
				t.Fatalf("the sessions are %q", have)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	awaitSessions(0) // of when it was found ready
	w.engine.kept.keepFor = time.Minute
	first := checkpoint()
	if again := checkpoint(); len(first) != 1 || first[0][1] != maintenance || len(again) != 1 || again[0][0] != first[0][0] {
		t.Errorf("the sessions were %q and are %q", first, again)
	}
	failed := make(chan error, 4)
	for range cap(failed) {
		go func() { failed <- w.engine.Checkpoint(t.Context(), target) }()
	}
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	awaitSessions(1)

	// Whatever becomes of the session, or of its database, there is another.
	sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cloned'")
	awaitSessions(0)
	if again := checkpoint(); len(again) != 1 || again[0][1] != maintenance {
		t.Errorf("the sessions are %q", again)
	}
	sql("DROP DATABASE " + maintenance + " WITH (FORCE)")
	w.engine.kept.keepFor = keepSession
	if again := checkpoint(); len(again) != 1 || again[0][1] != "other" {
		t.Errorf("the sessions are %q", again)
	}
	awaitSessions(0) // once its time is over
}
