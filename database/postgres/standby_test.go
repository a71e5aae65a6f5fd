package postgres

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newStandby makes a standby that streams from s.
func newStandby(t testing.TB, s *source) *source {
	t.Helper()
	b := newSource(t)
	if err := os.RemoveAll(b.dir); err != nil {
		t.Fatal(err)
	}
	s.sql("postgres", "SELECT pg_create_physical_replication_slot('b')")
	b.tool("pg_basebackup", "-d", s.connInfo()+" password=hunter2", "-D", b.dir, "-R", "--slot", "b", "-c", "fast")
	b.start()
	return b
}

// freeze stops all processes of the server while f runs: what f copies is then
// as of one moment, as a filesystem's snapshot is.
func (s *source) freeze(f func()) {
	s.t.Helper()
	var pids []int
	found, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, cwd := range found {
		var pid int
		if at, err := os.Readlink(cwd); err == nil && at == s.dir {
			if _, err := fmt.Sscanf(cwd, "/proc/%d/cwd", &pid); err != nil {
				s.t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGSTOP) // a session may have ended
		defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	}
	f()
}

// TestStandby snapshots a standby in place while it streams, as a golden's
// source may be: recovery ends in a consistent state, on a timeline of its own.
func TestStandby(t *testing.T) {
	primary := bench(t)
	standby := newStandby(t, primary)
	stop := primary.load()
	deadline := time.Now().Add(20 * time.Second)
	for standby.sql("shop", "SELECT count(*) > 500 FROM pgbench_history")[0][0] != "t" {
		if time.Now().After(deadline) {
			t.Fatal("the standby gets nothing")
		}
	}
	snapshot := filepath.Join(tempDir(t), "snapshot")
	standby.freeze(func() { run(t, "cp", "-a", filepath.Dir(standby.dir), snapshot) })
	// What is not in the snapshot must not be needed.
	stop()
	standby.stop()
	primary.stop()
	eachRuntime(t, func(t *testing.T, w *world) {
		v := w.newVolume()
		run(t, "cp", "-a", snapshot+"/.", v.Path)
		facts, prepared := w.prepare(v, nil)
		if !facts.Standby || facts.CleanShutdown {
			t.Errorf("%+v", facts)
		}
		if all := strings.Join(prepared.Defused, "\n"); !strings.Contains(all, "standby") || !strings.Contains(all, "primary_conninfo") {
			t.Errorf("defused %q", all)
		}
		c := w.clone(v, facts, prepared, nil)
		if rows := c.sql(consistent); rows[0][0] != "t" {
			t.Error("the copy is not consistent")
		}
		if rows := c.sql("SELECT pg_is_in_recovery()::text || (SELECT timeline_id FROM pg_control_checkpoint())"); rows[0][0] != "false2" {
			t.Errorf("in recovery, timeline: %q", rows[0][0])
		}
		c.checkLog()
	})
}

// TestBackupOfStandby: a base backup may as well be taken from a standby.
func TestBackupOfStandby(t *testing.T) {
	primary := newSource(t)
	primary.start()
	primary.sql("postgres", "CREATE DATABASE shop")
	primary.sql("shop", "CREATE TABLE item AS SELECT generate_series(1, 1000) AS n")
	standby := newStandby(t, primary)
	w := processWorld(t)
	facts, _, err := w.engine.Probe(t.Context(), standby.backup())
	if err != nil || !facts.Standby {
		t.Fatal(facts, err)
	}
	v, facts, prepared := w.golden(standby.backup(), nil)
	c := w.clone(v, facts, prepared, nil)
	if rows := c.sql("SELECT count(*) FROM item"); rows[0][0] != "1000" {
		t.Error(rows)
	}
	c.checkLog()
}
