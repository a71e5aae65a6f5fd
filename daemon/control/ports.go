package control

import (
	"net"
	"strconv"
	"sync"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// reasonNoPort: every port of the range is taken.
const reasonNoPort = "PORTS_EXHAUSTED"

// ports gives out the ports of the range. A port is reserved in memory first
// and then tried outside the lock, so that nobody waits for a probe.
type ports struct {
	addr        string
	first, last int

	mu   sync.Mutex
	next int            // where the search goes on: a port just let go of is not reused at once
	used map[int]string // to the ID of the clone that has it
}

func newPorts(addr string, first, last int) *ports {
	return &ports{addr: addr, first: first, last: last, next: first, used: map[int]string{}}
}

// hold marks a port as used without trying it: a clone's record has it.
func (p *ports) hold(port int, clone string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used[port] = clone
}

// release gives a port back, if the clone has it.
func (p *ports) release(port int, clone string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used[port] == clone {
		delete(p.used, port)
	}
}

// letPortGo gives a clone's port back, unless its record has it: what was to be
// written when an error came may have been written after all.
func (p *Plane) letPortGo(id string, port int) {
	if c, ok := p.store.View().Clone(id); !ok || c.Port != port || c.State == state.CloneDeleting {
		p.ports.release(port, id)
	}
}

// has says whether the clone has the port.
func (p *ports) has(port int, clone string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used[port] == clone
}

// free says how many ports no clone has.
func (p *ports) free() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.last - p.first + 1
	for port := range p.used {
		if port >= p.first && port <= p.last {
			n--
		}
	}
	return n
}

// reserve returns a port that no clone has and nothing listens on.
func (p *ports) reserve(clone string) (int, error) {
	for range p.last - p.first + 1 {
		port, ok := p.take(clone)
		if !ok {
			break
		}
		if p.probe(port) == nil {
			return port, nil
		}
		p.release(port, clone)
	}
	return 0, errs.New(errs.Exhausted, reasonNoPort, "no port from %d to %d is free on %s", p.first, p.last, p.addr).
		WithHint("delete clones, or configure a larger range of ports")
}

// take marks the next unused port of the range.
func (p *ports) take(clone string) (port int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range p.last - p.first + 1 {
		port := p.next
		if p.next++; p.next > p.last {
			p.next = p.first
		}
		if p.used[port] == "" {
			p.used[port] = clone
			return port, true
		}
	}
	return 0, false
}

// reserveOne reserves the port that was asked for.
func (p *ports) reserveOne(port int, clone string) error {
	if port < p.first || port > p.last {
		return errs.Fieldf("port", "%d is outside the range %d to %d", port, p.first, p.last)
	}
	const hint = "ask for another port, or for none to get the next free one"
	p.mu.Lock()
	holder := p.used[port]
	if holder == "" {
		p.used[port] = clone
	}
	p.mu.Unlock()
	if holder != "" {
		return errs.New(errs.Exhausted, container.ReasonPortTaken, "port %d belongs to another clone", port).WithHint(hint)
	}
	if err := p.probe(port); err != nil {
		p.release(port, clone)
		return err.WithHint(hint)
	}
	return nil
}

// probe says whether something listens on the port.
func (p *ports) probe(port int) *errs.Error {
	l, err := net.Listen("tcp", net.JoinHostPort(p.addr, strconv.Itoa(port)))
	if err != nil {
		return errs.New(errs.Exhausted, container.ReasonPortTaken, "port %d on %s is taken by another program: %w", port, p.addr, err)
	}
	if err := l.Close(); err != nil {
		return errs.New(errs.Internal, "PORT_PROBE", "port %d on %s: %w", port, p.addr, err)
	}
	return nil
}
