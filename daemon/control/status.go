package control

import (
	"context"
	"fmt"
	"strings"

	"github.com/cloned-db/cloned/state"
)

// Status says how the host is, from memory and from what the last pass found.
func (p *Plane) Status(ctx context.Context) Status {
	view := p.store.View()
	driver, runtime := p.cfg.Driver.Capabilities(), p.cfg.Runtime.Capabilities()
	s := Status{
		Version: p.cfg.Version, Instance: p.cfg.Instance,
		Driver: p.cfg.Driver.Name(), DriverReason: p.cfg.DriverReason, Thin: driver.Thin,
		Runtime: p.cfg.Runtime.Name(), RuntimeReason: p.cfg.RuntimeReason, Isolated: runtime.Isolated,
		FloorBytes: p.cfg.FloorBytes, Clones: map[state.CloneState]int{},
		Goldens: len(view.Goldens()), MaxClones: p.cfg.MaxClones,
		Ports: [2]int{p.cfg.PortFirst, p.cfg.PortLast}, PortsFree: p.ports.free(), Limits: runtime,
	}
	for c := range view.Clones() {
		s.Clones[c.State]++
	}
	for _, sn := range view.Snapshots("") {
		if sn.State == state.SnapshotReady {
			s.Snapshots++
		}
	}
	var recent bool
	if s.Space, recent = p.space.sample(); !recent {
		if space, err := p.space.refresh(ctx); err == nil {
			s.Space = space
		} else {
			s.Degraded = append(s.Degraded, fmt.Sprintf("storage %s does not tell its space: %v", s.Driver, err))
		}
	}
	p.addDegraded(&s)
	return s
}

// addDegraded fills in what the passes found.
func (p *Plane) addDegraded(s *Status) {
	p.health.mu.Lock()
	defer p.health.mu.Unlock()
	h := &p.health
	s.Orphans, s.LastReconcile = h.orphans, h.last
	add := func(is bool, format string, args ...any) {
		if is {
			s.Degraded = append(s.Degraded, fmt.Sprintf(format, args...))
		}
	}
	add(!s.Thin, "storage %s copies: a clone takes time and space in proportion to its data", s.Driver)
	// Whether the network is fenced off is found out by the first pass.
	add(!s.Isolated && !h.last.IsZero(), "runtime %s does not keep clones from reaching the network", s.Runtime)
	add(!s.Limits.Limits, "runtime %s does not enforce limits of memory, CPU and processes", s.Runtime)
	add(s.Space.Total > 0 && s.Space.Free < s.FloorBytes, "the pool has %s free, less than the floor of %s: nothing can be created", mib(s.Space.Free), mib(s.FloorBytes))
	add(h.pool != "", "the pool of storage %s is not well: %s", s.Driver, h.pool)
	add(h.err != nil, "the last reconciliation failed: %v", h.err)
	add(h.alarm, "%d orphans are more than a pass may sweep: none was; see the log for what they are", h.orphans)
	add(len(h.strangers) > 0, "with this installation's mark but unknown to its state: %s (was an old state put back?)", strings.Join(h.strangers, ", "))
	add(len(h.lost) > 0, "snapshots whose volume has vanished: %s", strings.Join(h.lost, ", "))
}

// mib writes bytes for people.
func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
