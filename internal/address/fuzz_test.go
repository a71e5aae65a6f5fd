package address

import (
	"path/filepath"
	"testing"

	"github.com/cloned-db/cloned/errs"
)

// FuzzParse: an address is invalid, or is written so that it is read as the same.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"unix:///run/cloned/cloned.sock", "tcp://127.0.0.1:7070", "tcp://[::1]:0", "tcp://[fe80::1%25eth0]:1", "unix:///a%20b/../c", "unix://%zz", "tcp://a:b@c:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := Parse(text)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		again, err := Parse(a.String())
		if err != nil || again != a {
			t.Errorf("%q is %+v, which is written %q and read as %+v, %v", text, a, a, again, err)
		}
		if a.Network == "unix" && (!filepath.IsAbs(a.Addr) || len(a.Addr) > maxSocketPath) {
			t.Errorf("%q is the socket %q", text, a.Addr)
		}
	})
}
