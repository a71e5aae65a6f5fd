package container

import (
	"bytes"
	"sync"
)

const (
	lastLines = 40
	// maxLine is where a line without an end is cut, in bytes.
	maxLine = 64 << 10
)

// Lines is a writer that hands on what is written to it line by line, a line
// ending with \n or \r, and keeps the last lines for an error.
type Lines struct {
	mu      sync.Mutex
	output  func(string)
	pending []byte
	last    []string
}

// NewLines returns a Lines that calls output for each line, if it is not nil.
func NewLines(output func(string)) *Lines { return &Lines{output: output} }

// Write takes more output. It never fails.
func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(l.pending, p...)
	for {
		end := bytes.IndexAny(l.pending, "\r\n")
		switch {
		case end >= 0:
			l.emit(l.pending[:end])
			l.pending = l.pending[end+1:]
		case len(l.pending) > maxLine:
			l.emit(l.pending)
			l.pending = nil
		default:
			return len(p), nil
		}
	}
}

// Line takes a whole line.
func (l *Lines) Line(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.emit([]byte(line))
}

// Flush hands on a last line without an end.
func (l *Lines) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.emit(l.pending)
	l.pending = nil
}

// Last returns the last lines, oldest first.
func (l *Lines) Last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.last...)
}

func (l *Lines) emit(line []byte) {
	if len(line) == 0 {
		return
	}
	text := string(line)
	if l.last = append(l.last, text); len(l.last) > lastLines {
		l.last = l.last[1:]
	}
	if l.output != nil {
		l.output(text)
	}
}
