package container

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestLinesHoweverTheyArrive(t *testing.T) {
	const text = "one\ntwo\rthree\r\n\nfour\r\r\nfive"
	want := []string{"one", "two", "three", "four", "five"}
	for size := 1; size <= len(text); size++ {
		var got []string
		l := NewLines(func(line string) { got = append(got, line) })
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			if written, err := l.Write([]byte(rest[:n])); written != n || err != nil {
				t.Fatalf("Write: %d, %v", written, err)
			}
			rest = rest[n:]
		}
		l.Flush()
		if !slices.Equal(got, want) || !slices.Equal(l.Last(), want) {
			t.Errorf("in pieces of %d: %q, last %q, want %q", size, got, l.Last(), want)
		}
	}
}

func TestLinesCutsWhatHasNoEnd(t *testing.T) {
	got := 0
	l := NewLines(func(line string) { got += len(line) })
	piece := []byte(strings.Repeat("x", maxLine/3))
	for range 100 {
		if _, err := l.Write(piece); err != nil {
			t.Fatal(err)
		}
		if len(l.pending) > maxLine {
			t.Fatalf("%d bytes are kept", len(l.pending))
		}
	}
	l.Flush()
	if want := 100 * len(piece); got != want {
		t.Errorf("%d bytes came out, want %d", got, want)
	}
}

func TestLinesKeepsTheLast(t *testing.T) {
	l := NewLines(nil)
	for i := range 3 * lastLines {
		fmt.Fprintln(l, i)
	}
	got := l.Last()
	if len(got) != lastLines || got[0] != fmt.Sprint(2*lastLines) || got[lastLines-1] != fmt.Sprint(3*lastLines-1) {
		t.Errorf("kept %q", got)
	}
}
