package postgres

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// TestAdminSocketStaysInside: a clone's user can put anything in the socket's
// place, and must not get us to talk to another clone.
func TestAdminSocketStaysInside(t *testing.T) {
	s := newSource(t)
	s.start()
	real := filepath.Join(filepath.Dir(s.dir), ".s.PGSQL."+strconv.Itoa(s.port))
	for name, plant := range map[string]func(t *testing.T, volume string){
		"link to a socket": func(t *testing.T, volume string) { run(t, "ln", "-s", real, volume+"/"+runDir+"/.s.PGSQL.5432") },
		"link to a directory": func(t *testing.T, volume string) {
			run(t, "rm", "-r", volume+"/"+runDir)
			run(t, "ln", "-s", filepath.Dir(real), volume+"/"+runDir)
		},
		"a file":  func(t *testing.T, volume string) { run(t, "touch", volume+"/"+runDir+"/.s.PGSQL.5432") },
		"a pipe":  func(t *testing.T, volume string) { run(t, "mkfifo", volume+"/"+runDir+"/.s.PGSQL.5432") },
		"nothing": func(*testing.T, string) {},
	} {
		t.Run(name, func(t *testing.T) {
			volume := noted(t, "ready   ")
			plant(t, volume)
			err := New().Ready(t.Context(), database.Target{VolumePath: volume, Port: s.port})
			want(t, err, errs.Unavailable)
		})
	}
}

// TestAdminSocketMute: what answers nothing, or nonsense, or without end, holds
// nobody up for longer than asked.
func TestAdminSocketMute(t *testing.T) {
	for name, answer := range map[string]string{"nothing": "", "nonsense": "HTTP/1.1 200 OK\r\n\r\n", "a huge message": "R\x7f\xff\xff\xff"} {
		t.Run(name, func(t *testing.T) {
			volume := noted(t, "ready   ")
			asked := answering(t, volume, answer)
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			begin := time.Now()
			want(t, New().Ready(ctx, database.Target{VolumePath: volume}), errs.Unavailable)
			want(t, New().Ready(ctx, database.Target{VolumePath: volume, Password: "x"}), errs.Unavailable)
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			if asked.Load() == 0 {
				t.Error("it was not asked")
			}
		})
	}
}

// TestReadyAsksNobodyInVain: a server that notes that it is starting, or that
// has not even begun, is left alone, but not for ever.
func TestReadyAsksNobodyInVain(t *testing.T) {
	volume := noted(t, "starting")
	asked := answering(t, volume, "nonsense")
	target := database.Target{VolumePath: volume}
	note := filepath.Join(volume, "postmaster.pid")
	want(t, New().Ready(t.Context(), target), errs.Unavailable, "starting")
	if n := asked.Load(); n != 0 {
		t.Errorf("asked %d times while it was starting", n)
	}
	if err := os.Rename(note, note+".away"); err != nil {
		t.Fatal(err)
	}
	want(t, New().Ready(t.Context(), target), errs.Unavailable)
	if n := asked.Load(); n != 0 {
		t.Errorf("asked %d times though nothing runs", n)
	}
	if err := os.Rename(note+".away", note); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Minute)
	if err := os.Chtimes(note, old, old); err != nil {
		t.Fatal(err)
	}
	want(t, New().Ready(t.Context(), target), errs.Unavailable)
	if asked.Load() == 0 { // pgconn may then send a request to cancel, too
		t.Error("not asked after a minute of starting")
	}
}

// noted makes a volume on which a server has noted its status.
func noted(t *testing.T, status string) (volume string) {
	t.Helper()
	volume = tempDir(t)
	if err := os.MkdirAll(filepath.Join(volume, runDir), 0o700); err != nil {
		t.Fatal(err)
	}
	lines := "1\n/data\n0\n5432\n/run\n*\n0 0\n" + status + "\n"
	if err := os.WriteFile(filepath.Join(volume, "postmaster.pid"), []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return volume
}

// answering has something answer on a volume's admin socket, and counts.
func answering(t *testing.T, volume, answer string) (asked *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(volume, runDir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	asked = new(atomic.Int64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			asked.Add(1)
			_, _ = c.Write([]byte(answer))
		}
	}()
	return asked
}

// TestClaimWrongInstance: another server on the published port, or another
// instance on the volume, is noticed.
func TestClaimWrongInstance(t *testing.T) {
	s := newSource(t)
	w := processWorld(t)
	v, facts, prepared := w.golden(s.directory(), nil)
	one := w.clone(v, facts, prepared, nil)
	two := w.clone(v, facts, prepared, func(r *database.StartRequest) {
		r.PublishAddr, r.PublishPort = "127.0.0.2", one.target.Port
	})
	mixed := one.target
	mixed.Addr = two.target.Addr
	want(t, w.engine.Claim(t.Context(), mixed), errs.Conflict, database.ReasonWrongInstance, "refuses our login")
	two.target.Password = one.target.Password
	if err := w.engine.Ready(t.Context(), two.target); err != nil {
		t.Fatal(err)
	}
	if err := w.engine.Claim(t.Context(), two.target); err != nil {
		t.Fatal(err)
	}
	want(t, w.engine.Claim(t.Context(), mixed), errs.Conflict, database.ReasonWrongInstance, two.target.ID)
	mixed = one.target
	mixed.ID = "c-other"
	want(t, w.engine.Claim(t.Context(), mixed), errs.Conflict, database.ReasonWrongInstance, "c-other")
	if err := w.engine.Claim(t.Context(), one.target); err != nil {
		t.Errorf("a second claim: %v", err)
	}
	if err := w.engine.Checkpoint(t.Context(), one.target); err != nil {
		t.Error(err)
	}
}
