package rehearse

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzLog: whatever a server logs, a report of it is bounded, and can't command a
// terminal.
func FuzzLog(f *testing.F) {
	f.Add("2026-01-02 03:04:05 UTC [7] ERROR:  no such table\n\tmore\nWARNING:  x")
	f.Add("FATAL:  \x1b[2J\xff" + strings.Repeat("ä", 600))
	f.Add(strings.Repeat("ERROR:  a\nERROR:  b\n", 200))
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		found, total := ParseLog(lines), 0
		if len(found) > maxLog {
			t.Errorf("%d messages", len(found))
		}
		for _, l := range found {
			total += l.Count
			if l.Count < 1 || utf8.RuneCountInString(l.Message) > maxText+1 || strings.ContainsFunc(l.Message, unicode.IsControl) || !utf8.ValidString(l.Message) && utf8.ValidString(text) {
				t.Errorf("%+v", l)
			}
		}
		if total > len(lines) {
			t.Errorf("%d messages in %d lines", total, len(lines))
		}
	})
}
