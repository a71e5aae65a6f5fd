package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBoundLog writes on while the log is cut: what is written last is all
// there, from the beginning of a line, and the file takes less space.
func TestBoundLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	line := 0
	write := func(bytes int) {
		for written := 0; written < bytes; line++ {
			n, err := fmt.Fprintf(f, "%08d %s\n", line, strings.Repeat("x", 190))
			if err != nil {
				t.Fatal(err)
			}
			written += n
		}
	}
	write(maxLog - 1<<20)
	if err := boundLog(path); err != nil {
		t.Fatal(err)
	}
	if got := content(t, path, -1); !strings.HasPrefix(got, "00000000 ") {
		t.Errorf("a log within its bound was cut: it begins with %.20q", got)
	}
	write(2 << 20)
	for range 3 {
		if err := boundLog(path); err != nil {
			t.Fatal(err)
		}
		write(100)
	}
	got := content(t, path, -1)
	if len(got) < keptLog || len(got) > keptLog+1<<20 {
		t.Errorf("%d bytes are left, want some %d", len(got), keptLog)
	}
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	for i, l := range lines {
		if want := fmt.Sprintf("%08d ", line-len(lines)+i); !strings.HasPrefix(l, want) {
			t.Fatalf("line %d of %d begins with %.20q, want %q", i, len(lines), l, want)
		}
	}
	if got := content(t, path, 2); strings.Count(got, "\n") != 2 || !strings.HasPrefix(got, fmt.Sprintf("%08d ", line-2)) {
		t.Errorf("the last two lines begin with %.20q", got)
	}
}

func content(t *testing.T, path string, lines int) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := seekTail(f, lines); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(f); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
