package main

import (
	"strings"
	"testing"

	"github.com/cloned-db/cloned/test/harness"
)

// TestDiffMajors: that versions differ is found before anything is compared.
func TestDiffMajors(t *testing.T) {
	s, dev := newServer(t)
	// Whoever reads the table waits for ever.
	session(t, dev, "CREATE TABLE t (x int PRIMARY KEY)", "BEGIN", "LOCK TABLE t")
	f, host := serve(t)
	f.url = s.URL("postgres")
	f.put("a")
	f.put("b").Endpoint.Url = harness.OfMajor(t, f.url, 99)
	for _, args := range [][]string{{"diff", "a", "b", "--data"}, {"diff", "a", "b"}, {"diff", "b", "a", "--table", "public.t"}} {
		f.url = f.clones[args[1]].Endpoint.Url // what copies are reached by
		_, errOut, code := ctl(t, host, append(args, "--timeout", "20s")...)
		if code != 5 || !strings.Contains(errOut, "different major versions") || !strings.Contains(errOut, "99") {
			t.Errorf("%v: exit %d: %s", args, code, errOut)
		}
	}
	if len(f.clones) != 2 {
		t.Errorf("left: %v", f.clones)
	}
}
