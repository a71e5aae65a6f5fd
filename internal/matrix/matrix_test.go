package matrix

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "matrix.json")
	t.Setenv(Variable, path)
	var c Count
	c.Add(true)
	c.Add(false)
	Record(t, "fakes", c.Entry(7, 4))
	Record(t, "zfs", Entry{Points: 1, Ways: 2, Runs: 3})
	Record(t, "fakes", c.Entry(8, 4))
	const want = `{
  "fakes": {
    "points": 8,
    "ways": 4,
    "runs": 2,
    "failures": 1
  },
  "zfs": {
    "points": 1,
    "ways": 2,
    "runs": 3,
    "failures": 0
  }
}
`
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%v: %s", err, got)
	}
	if err := os.WriteFile(path, []byte("not JSON"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := put(path, "fakes", Entry{}); err == nil {
		t.Error("a damaged file was replaced")
	}
}
