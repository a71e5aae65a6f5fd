package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloned-db/cloned/errs"
)

func open(t *testing.T, dir string, maxBytes int64, files int) *Log {
	t.Helper()
	l, err := Open(dir, maxBytes, files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func entry(id string) Entry {
	return Entry{
		Time: time.Unix(1_700_000_000, 0).UTC(), Principal: "token:ci", Role: "user", From: "unix uid=0 pid=7",
		Method: "CreateClone", Request: json.RawMessage(`{"name":"dev","labels":{"a":"shop"}}`), Outcome: "OK", ID: id, TookMS: 1.5,
	}
}

func read(t *testing.T, l *Log) (ids []string, err error) {
	t.Helper()
	err = l.Read(t.Context(), func(e Entry) error { ids = append(ids, e.ID); return nil })
	return ids, err
}

// TestWriteRead: what was written is read again, in order, over rotations and by
// another process's eyes.
func TestWriteRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l := open(t, dir, 1<<20, 5)
	big := entry("")
	big.Request = json.RawMessage(`{"name":"` + strings.Repeat("x", 200<<10) + `"}`)
	var want []string
	for i := range 20 { // four megabytes: some files
		big.ID = fmt.Sprint(i)
		want = append(want, big.ID)
		if err := l.Write(big); err != nil {
			t.Fatal(err)
		}
	}
	again := open(t, dir, 1<<20, 5)
	if err := again.Write(entry("last")); err != nil {
		t.Fatal(err)
	}
	if have, err := read(t, l); err != nil || !slices.Equal(have, append(want, "last")) {
		t.Errorf("read %v, %v", have, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) < 3 {
		t.Errorf("it was not rotated: %v, %v", files, err)
	}
	for _, path := range append(files, dir) {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: others may read it: %v, %v", path, info.Mode(), err)
		}
	}
	var first Entry
	errStop := errors.New("stop")
	if err := l.Read(t.Context(), func(e Entry) error { first = e; return errStop }); !errors.Is(err, errStop) || first.Principal != "token:ci" || first.TookMS != 1.5 {
		t.Errorf("first %+v, %v", first, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Read(ctx, func(Entry) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestOldFilesGo: no more files than asked for are kept.
func TestOldFilesGo(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 1<<20, 2)
	big := entry("x")
	big.Request = json.RawMessage(`"` + strings.Repeat("x", 700<<10) + `"`)
	for range 8 {
		if err := l.Write(big); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err == nil && len(files) == 3 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("there are %v, %v", files, err)
		}
	}
}

// TestTorn: half a line that a crash left neither spoils the next one nor goes
// unnoticed.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 1<<20, 1)
	if err := l.Write(entry("whole")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, fileName)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(data, data[:len(data)/2]...), 0o600); err != nil {
		t.Fatal(err)
	}
	if have, err := read(t, l); err != nil || !slices.Equal(have, []string{"whole"}) {
		t.Errorf("while it is being written: %v, %v", have, err)
	}
	l = open(t, dir, 1<<20, 1)
	if err := l.Write(entry("next")); err != nil {
		t.Fatal(err)
	}
	if have, err := read(t, l); !errs.Is(err, errs.Corrupt) || !slices.Equal(have, []string{"whole", "next"}) {
		t.Errorf("read %v, %v", have, err)
	}
}

// broken is a file that can't be written while err is set.
type broken struct{ err error }

func (b *broken) Write(p []byte) (int, error) { return len(p), b.err }
func (b *broken) Close() error                { return nil }

// TestUnwritable: as long as it can't be written it says so, before anything is
// changed.
func TestUnwritable(t *testing.T) {
	out := &broken{}
	l := &Log{out: out, send: func(string) error { return nil }}
	if err := l.Ready(); err != nil {
		t.Error(err)
	}
	out.err = errors.New("no space left on device")
	if err := l.Write(entry("1")); !errs.Is(err, errs.Unavailable) {
		t.Errorf("write: %v", err)
	}
	if err := l.Ready(); !errs.Is(err, errs.Unavailable) || errs.As(err).Hint == "" {
		t.Errorf("ready: %v", err)
	}
	out.err = nil
	if err := l.Ready(); err != nil {
		t.Errorf("after it was mended: %v", err)
	}
	if _, err := Open("/dev/null/audit", 1<<20, 1); !errs.Is(err, errs.Unavailable) {
		t.Errorf("no directory: %v", err)
	}
}

// TestJournal: each line goes to the journal as well.
func TestJournal(t *testing.T) {
	var sent []string
	l := &Log{out: &broken{}, send: func(line string) error { sent = append(sent, line); return nil }}
	if err := l.Write(entry("1")); err != nil || len(sent) != 1 || !strings.Contains(sent[0], `"id":"1"`) {
		t.Errorf("sent %q, %v", sent, err)
	}
	l.send = func(string) error { return errors.New("no journal") }
	if err := l.Write(entry("2")); err == nil {
		t.Error("a journal that takes nothing goes unnoticed")
	}
}

// TestAtOnce: lines of calls at the same time do not mix.
func TestAtOnce(t *testing.T) {
	l := open(t, t.TempDir(), 1<<20, 5)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				if err := l.Write(entry(fmt.Sprint(i, "-", j))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	have, err := read(t, l)
	slices.Sort(have)
	if err != nil || len(slices.Compact(have)) != 800 {
		t.Errorf("%d entries, %v", len(have), err)
	}
}

func TestFilter(t *testing.T) {
	e := entry("1")
	e.Request = json.RawMessage(`{"name":"dev","source":{"clone":{"name":"main"}},"goldens":["shop"]}`)
	for _, c := range []struct {
		filter Filter
		want   bool
	}{
		{Filter{}, true},
		{Filter{Principal: "token:ci"}, true},
		{Filter{Principal: "token:c"}, false},
		{Filter{Method: "CreateClone"}, true},
		{Filter{Method: "DeleteClone"}, false},
		{Filter{Name: "dev"}, true},
		{Filter{Name: "main"}, true},
		{Filter{Name: "shop"}, true},
		{Filter{Name: "de"}, false},
		{Filter{Name: "name"}, false},
		{Filter{Since: e.Time}, true},
		{Filter{Since: e.Time.Add(time.Second)}, false},
		{Filter{Principal: "token:ci", Name: "other"}, false},
	} {
		if c.filter.Matches(e) != c.want {
			t.Errorf("%+v", c.filter)
		}
	}
}
