package control

import (
	"context"
	"fmt"

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
	facts := p.hostFacts()
	var recent bool
	if s.Space, recent = p.space.sample(); !recent {
		if space, err := p.space.refresh(ctx); err == nil {
			s.Space = space
		} else {
			facts.spaceErr = err
		}
	}
	facts.space = s.Space
	for _, f := range facts.findings() {
		s.Degraded = append(s.Degraded, f.Message)
	}
	p.health.mu.Lock()
	defer p.health.mu.Unlock()
	s.Orphans, s.LastReconcile = p.health.orphans, p.health.last
	return s
}

// mib writes bytes for people.
func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
