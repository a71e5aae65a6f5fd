package errs

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		"as it is, zürich\n\tindented": "as it is, zürich\n\tindented",
		"a\x1b[2Jb\x00\r\x7f\u009b":    "a?[2Jb????",
		"latin \xe4\xf6 1":             "latin ? 1",
	} {
		if got := Plain(text); got != want {
			t.Errorf("%q became %q", text, got)
		}
	}
	for _, c := range []string{"x", "ü", "\xff", "…", "\x1b"} {
		got := Plain(strings.Repeat(c, 1<<20))
		if len(got) > maxPlain || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
			t.Errorf("a million times %q has %d bytes and ends with %q", c, len(got), got[max(0, len(got)-8):])
		}
	}
}

// TestNewIsPlain: an error quotes what anybody said.
func TestNewIsPlain(t *testing.T) {
	e := New(Precondition, "X", "it says %s", strings.Repeat("\x1b]0;\xff", 1<<20)).WithHint("see %s", "\x1b[1m")
	if len(e.Message) > maxPlain || !utf8.ValidString(e.Message) || strings.Contains(e.Error()+e.Hint, "\x1b") {
		t.Errorf("%d bytes, %q", len(e.Message), e.Hint)
	}
}
