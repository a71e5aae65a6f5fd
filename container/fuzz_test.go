package container

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzLines: whatever is written, in whatever pieces, comes out as its lines, none
// of them longer than what was written at once and the bound.
func FuzzLines(f *testing.F) {
	f.Add([]byte("one\ntwo\r\nthree"), uint16(3))
	f.Add(bytes.Repeat([]byte("x"), 3*maxLine), uint16(1000))
	f.Add([]byte("\r\r\n\n\x00\xff"), uint16(1))
	f.Fuzz(func(t *testing.T, text []byte, piece uint16) {
		size := int(piece) + 1
		var got []string
		lines := NewLines(func(line string) { got = append(got, line) })
		for rest := text; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			if n, err := lines.Write(rest[:min(size, len(rest))]); err != nil || n != min(size, len(rest)) {
				t.Fatal(n, err)
			}
		}
		lines.Flush()
		for _, line := range got {
			if line == "" || strings.ContainsAny(line, "\r\n") || len(line) > maxLine+size {
				t.Errorf("a line of %d bytes: %.100q", len(line), line)
			}
		}
		if want := strings.NewReplacer("\r", "", "\n", "").Replace(string(text)); strings.Join(got, "") != want {
			t.Errorf("%.100q came out as %.100q", text, got)
		}
		if last := lines.Last(); len(last) > lastLines {
			t.Errorf("%d lines are kept", len(last))
		}
	})
}
