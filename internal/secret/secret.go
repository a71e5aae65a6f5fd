// Package secret has a text that is never printed by accident: not by fmt, not by
// a log, not in JSON.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what a secret is printed as.
const Redacted = "[redacted]"

// Text is a password, or whatever else is nobody's business. Only Reveal tells it.
type Text string

// Reveal returns the secret itself. Whoever calls it hands it to what needs it, and
// to nothing else.
func (t Text) Reveal() string { return string(t) }

// Format implements fmt.Formatter, for all verbs.
func (Text) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, Redacted) // a printer's own buffer
}

// LogValue implements slog.LogValuer.
func (Text) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText implements encoding.TextMarshaler, for JSON and YAML.
func (Text) MarshalText() ([]byte, error) { return []byte(Redacted), nil }
