package errs

import (
	"strings"
	"unicode"
)

// maxPlain bounds what Plain returns, in bytes: it is kept in records, and travels
// in the trailers of answers.
const maxPlain = 4 << 10

// Plain makes of what a command, a file or a database said a text that can be
// kept, sent and shown, whoever said it: UTF-8 of a bounded length, without what
// could command a terminal.
func Plain(text string) string {
	const more = "…"
	cut := len(text) > maxPlain
	if cut {
		text = text[:maxPlain-len(more)]
	}
	text = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) && c != '\n' && c != '\t' {
			return '?'
		}
		return c
	}, strings.ToValidUTF8(text, "?"))
	if cut {
		text += more
	}
	return text
}
