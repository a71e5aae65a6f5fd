package main

import (
	"fmt"
	"time"

	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// progress shows how far a refresh is: on a terminal one line that is redrawn,
// elsewhere a line for each phase, and one every few seconds in between.
type progress struct {
	a     *app
	live  bool
	phase string
	last  time.Time
	drawn bool
}

const (
	redraw   = 100 * time.Millisecond
	plainGap = 5 * time.Second
)

func (a *app) newProgress() *progress { return &progress{a: a, live: terminal(a.err)} }

func (p *progress) show(m *clonedv1.RefreshProgress) {
	if m == nil {
		return
	}
	gap := plainGap
	if p.live {
		gap = redraw
	}
	if m.GetPhase() == p.phase && time.Since(p.last) < gap {
		return
	}
	p.phase, p.last = m.GetPhase(), time.Now()
	line := m.GetPhase()
	if m.GetMessage() != "" {
		line += ": " + m.GetMessage()
	}
	switch {
	case m.GetTotalBytes() > 0:
		line += fmt.Sprintf(" %s of %s (%d%%)", size(m.GetDoneBytes()), size(m.GetTotalBytes()), min(100, m.GetDoneBytes()*100/m.GetTotalBytes()))
	case m.GetDoneBytes() > 0:
		line += " " + size(m.GetDoneBytes())
	}
	if p.live {
		fmt.Fprintf(p.a.err, "\r\x1b[K%s", line)
		p.drawn = true
		return
	}
	fmt.Fprintln(p.a.err, line)
}

// end takes the redrawn line away.
func (p *progress) end() {
	if p.drawn {
		fmt.Fprint(p.a.err, "\r\x1b[K")
		p.drawn = false
	}
}
