package process

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cloned-db/cloned/errs"
)

// FuzzRecord: whatever the file of an instance has in it is read as a record of
// that instance, which is written and read again as the same, or is damaged.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"id":"c-a-1","stop_signal":"SIGINT","process":{"pid":7,"start":9,"boot":"b"},"started":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"id":"../../../etc/passwd","process":{"pid":-1}}`))
	f.Add([]byte(``))
	f.Add([]byte(`{"id":"c-a-1","exited":true,"exit_code":99999999999999999999}`))
	r := &Runtime{dir: f.TempDir(), boot: "b"}
	const id = "c-a-1"
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(r.recordPath(id), content, 0o600); err != nil {
			t.Fatal(err)
		}
		rec, err := r.load(id)
		if err != nil {
			if !errs.Is(err, errs.Corrupt) {
				t.Errorf("%v", err)
			}
			return
		}
		if rec.ID != id || rec.Process.PID < 0 {
			t.Errorf("%s holds %+v", id, rec)
		}
		if err := r.save(rec); err != nil {
			t.Fatal(err)
		}
		again, err := r.load(id)
		if err != nil || again.Process != rec.Process || !again.Started.Equal(rec.Started) || again.exitCode() != rec.exitCode() || again.StopSignal != rec.StopSignal {
			t.Errorf("%+v became %+v, %v", rec, again, err)
		}
		if list, err := filepath.Glob(filepath.Join(r.dir, "*")); err != nil || len(list) != 1 {
			t.Errorf("%q, %v", list, err)
		}
	})
}

// FuzzStat: what the kernel says of a process is read whatever the process calls
// itself.
func FuzzStat(f *testing.F) {
	f.Add("7 (postgres) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2", "postgres")
	f.Add("7 (", ") S 1 (")
	f.Fuzz(func(t *testing.T, content, name string) {
		if s, err := parseStat([]byte(content)); err == nil && (s.start == 0 && s.state == 0) {
			t.Errorf("%q is %+v", content, s)
		}
		s, err := parseStat([]byte("7 (" + name + ") S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 4711 1 2\n"))
		if want := (status{start: 4711, state: 'S', threads: 3}); err != nil || s != want {
			t.Errorf("a process that is called %q: %+v, %v", name, s, err)
		}
	})
}
