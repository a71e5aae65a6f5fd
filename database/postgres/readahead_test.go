package postgres

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/database"
)

// TestReadAhead: preparation notes the files that a first session reads, and
// they are fetched.
func TestReadAhead(t *testing.T) {
	s := newSource(t)
	w := processWorld(t)
	v, _, prepared := w.golden(s.directory(), nil)
	content, err := os.ReadFile(filepath.Join(v.Path, ownDir, readAheadFile))
	if err != nil {
		t.Fatal(err)
	}
	var notes map[string][]string
	if err := json.Unmarshal(content, &notes); err != nil {
		t.Fatal(err)
	}
	for _, db := range prepared.Databases {
		if len(notes[db]) < 30 {
			t.Errorf("database %s: %d files, want those of 15 catalogs and their indexes", db, len(notes[db]))
		}
	}
	files := notes[prepared.Database]
	for _, name := range files {
		dropCache(t, filepath.Join(v.Path, v.DataDir, name))
	}
	New().ReadAhead(database.Target{VolumePath: v.Path, DataDir: v.DataDir, Database: prepared.Database})
	deadline := time.Now().Add(10 * time.Second)
	for _, name := range files {
		for !cached(t, filepath.Join(v.Path, v.DataDir, name)) {
			if time.Now().After(deadline) {
				t.Fatalf("%s was not read", name)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// TestReadAheadOfStrangers: the notes may be anybody's.
func TestReadAheadOfStrangers(t *testing.T) {
	for name, notes := range map[string]string{
		"no JSON":      "{",
		"other JSON":   `{"shop": 1}`,
		"outside":      `{"shop": ["../../../etc/passwd", "/etc/passwd", "link"]}`,
		"pipe":         `{"shop": ["pipe"]}`,
		"not there":    `{"shop": ["nothing"]}`,
		"no such name": `{}`,
	} {
		t.Run(name, func(t *testing.T) {
			volume := noted(t, "starting")
			run(t, "mkfifo", volume+"/pipe")
			run(t, "ln", "-s", "/etc/passwd", volume+"/link")
			if err := os.WriteFile(filepath.Join(volume, ownDir, readAheadFile), []byte(notes), 0o600); err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				New().ReadAhead(database.Target{VolumePath: volume, Database: "shop"})
			}()
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Error("it waits")
			}
		})
	}
}

// dropCache drops a file from the page cache.
func dropCache(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if cached(t, name) {
		t.Errorf("%s is still in the page cache", name)
	}
}

// cached says whether a file's first page is in the page cache; an empty file's
// is.
func cached(t *testing.T, name string) bool {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() == 0 {
		return err == nil
	}
	m, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	var resident byte
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&resident))); errno != 0 {
		t.Fatal(errno)
	}
	return resident&1 != 0
}
