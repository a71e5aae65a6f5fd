package address

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/errs"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Address{
		"unix:///run/cloned/cloned.sock": {"unix", "/run/cloned/cloned.sock"},
		"unix:///a//b/":                  {"unix", "/a/b"},
		"tcp://127.0.0.1:7432":           {"tcp", "127.0.0.1:7432"},
		"tcp://[::1]:0":                  {"tcp", "[::1]:0"},
		"tcp://build.internal:1":         {"tcp", "build.internal:1"},
		"tls://build.internal:7432":      {"tls", "build.internal:7432"},
		"tls://[::]:7432":                {"tls", "[::]:7432"},
	} {
		got, err := Parse(text)
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
			continue
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("%s: written as %s, read as %v, %v", text, got, again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "must be unix:///",
		"/run/cloned.sock":          "must be unix:///",
		"unix://run/cloned.sock":    "must be unix:///",
		"unix:cloned.sock":          "must be unix:///",
		"http://127.0.0.1:80":       "must be unix:///",
		"tcp://127.0.0.1":           "must be unix:///",
		"tcp://:7432":               "must be unix:///",
		"tcp://h:1/path":            "must be unix:///",
		"tcp://user:secret@h:1":     "must be unix:///",
		"tls://h":                   "must be unix:///",
		"tls://h:70000":             "the port must be 0 to 65535",
		"tcp://h:99999":             "the port must be 0 to 65535",
		"tcp://h:1?x=1":             "must be unix:///",
		"unix:///a\x00b":            "must be unix:///",
		"unix:///" + long(200):      "has at most 107 bytes",
		"tcp://127.0.0.1:7432#part": "must be unix:///",
	} {
		if got, err := Parse(text); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v; want %q", text, got, err, want)
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }

func TestLoopback(t *testing.T) {
	for text, want := range map[string]bool{
		"unix:///x": true, "tcp://127.0.0.1:1": true, "tcp://127.9.9.9:1": true, "tcp://[::1]:1": true,
		"tcp://localhost:1": true, "tcp://0.0.0.0:1": false, "tcp://[::]:1": false, "tcp://10.0.0.1:1": false,
		"tcp://localhost.example.org:1": false, "tls://127.0.0.1:1": true, "tls://build.internal:1": false,
	} {
		a, err := Parse(text)
		if err != nil || a.Loopback() != want {
			t.Errorf("%s: %v, %v; want %v", text, a.Loopback(), err, want)
		}
	}
}

func TestParts(t *testing.T) {
	for text, want := range map[string][2]string{
		"unix:///x:1": {"unix", ""}, "tcp://127.0.0.1:1": {"tcp", "127.0.0.1"}, "tls://[::1]:1": {"tcp", "::1"},
	} {
		a, err := Parse(text)
		if err != nil || a.Transport() != want[0] || a.Host() != want[1] {
			t.Errorf("%s: %s, %s, %v", text, a.Transport(), a.Host(), err)
		}
	}
}

func TestDefault(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	if got := Default().Addr; got != SystemSocket {
		t.Errorf("without a socket of the user: %s", got)
	}
	path := filepath.Join(dir, "cloned", "cloned.sock")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Default().Addr; got != path {
		t.Errorf("with a socket of the user: %s", got)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	if UserSocket() != "" || Default().Addr != SystemSocket {
		t.Error("without XDG_RUNTIME_DIR")
	}
}
