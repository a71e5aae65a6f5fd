package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/internal/secret"
)

// TestRedacted: there is no way to print it but Reveal.
func TestRedacted(t *testing.T) {
	const hidden = "hunter2"
	s := secret.Text(hidden)
	inside := struct {
		Name     string
		Password secret.Text
		More     []secret.Text
	}{"n", s, []secret.Text{s}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %v"} {
		for _, v := range []any{s, &s, inside, &inside, map[string]secret.Text{"k": s}} {
			if verb == "%T %v" {
				fmt.Fprintf(&out, verb, v, v)
				continue
			}
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("said", "secret", s, "inside", inside, "error", errors.New(fmt.Sprint(s)))
	}
	if err := json.NewEncoder(&out).Encode(inside); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{hidden, fmt.Sprintf("%x", hidden), fmt.Sprintf("%X", hidden)} {
		if strings.Contains(out.String(), form) {
			t.Errorf("%q is in:\n%s", form, out.String())
		}
	}
	if n := strings.Count(out.String(), secret.Redacted); n < 20 {
		t.Errorf("redacted only %d times:\n%s", n, out.String())
	}
	if s.Reveal() != hidden {
		t.Error("it can't be told at all")
	}
}
