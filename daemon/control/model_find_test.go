package control_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// records are all there are, to find out why.
func (m *model) records() string {
	var b strings.Builder
	v := m.rig.store.View()
	for c := range v.Clones() {
		fmt.Fprintf(&b, "%s %s is %s: generation %d of %s, next %d of %s, trash %v, kept %v, until %v, taking %v\n",
			c.ID, c.Name, c.State, c.Generation, c.Snapshot, c.Next, c.NextSnapshot, c.Trash, c.Kept, c.KeptUntil, c.Taking)
	}
	for _, s := range v.Snapshots("") {
		fmt.Fprintf(&b, "%s of %s %s-%d is %s: parent %s, for %q\n", s.ID, s.Golden, s.Clone, s.Generation, s.State, s.Parent, s.For)
	}
	return b.String()
}

// compare compares what is there with what each client knows, which is from now
// on what is there.
func (m *model) compare() {
	m.t.Helper()
	for client, worlds := range m.worlds {
		found := m.find(client)
		var fitting *modelWorld
		var why []error
		for _, w := range worlds {
			for name, c := range w.clones {
				if c.held && !m.holding(name) {
					delete(w.clones, name)
				}
			}
			err := w.fits(found)
			if err == nil {
				fitting = w
				break
			}
			why = append(why, err)
		}
		if fitting == nil {
			m.t.Fatalf("%s: %v", client, errors.Join(why...))
		}
		m.worlds[client] = []*modelWorld{fitting}
	}
	m.doors()
}

// find looks at what is there of a client.
func (m *model) find(client string) *modelWorld {
	m.t.Helper()
	w, p, v := newModelWorld(), m.rig.plane, m.rig.store.View()
	list, _, err := p.ListClones(m.t.Context(), control.CloneFilter{Owner: client}, 0, "")
	m.rig.must(err)
	for _, c := range list {
		w.clones[c.Name] = m.findClone(v, c)
	}
	deleted := p.DeletedClones(m.t.Context(), control.CloneFilter{Owner: client})
	slices.SortFunc(deleted, func(a, b state.Clone) int { return a.KeptUntil.Compare(b.KeptUntil) })
	for _, c := range deleted {
		w.deleted[c.Name] = append(w.deleted[c.Name], m.findClone(v, c))
	}
	for _, g := range p.ListGoldens(m.t.Context()) {
		if (g.Name == shared) != (client == operator) || client != operator && !strings.HasPrefix(g.Name, client+"-") {
			continue
		}
		snapshots, err := p.ListSnapshots(m.t.Context(), g.Name)
		m.rig.must(err)
		found := &modelGolden{}
		for _, s := range slices.Backward(snapshots) {
			found.contents = append(found.contents, m.rig.world.Content("g-"+s.ID+"@ready"))
		}
		w.goldens[g.Name] = found
	}
	return w
}

func (m *model) findClone(v *state.View, c state.Clone) *modelClone {
	exactly := func(t time.Time) span { return span{t, t} }
	read := func(generation int64, snapshot string, until time.Time) modelState {
		origin := "g-" + snapshot + "@ready"
		if s, _ := v.Snapshot(snapshot); s.Clone != "" {
			origin = fmt.Sprintf("c-%s-%d@%s", s.Clone, s.Generation, s.ID)
		}
		return modelState{
			content: m.rig.world.Content(fmt.Sprintf("c-%s-%d", c.ID, generation)),
			origin:  m.rig.world.Content(origin), until: exactly(until),
		}
	}
	out := &modelClone{
		golden: c.Golden, label: c.Labels["label"], suspended: c.Suspend, protect: c.Protect, held: c.Held,
		failed: c.Generation == 0, expires: exactly(c.Expires),
		now: read(c.Generation, c.Snapshot, c.KeptUntil), snaps: map[string]string{},
	}
	for _, k := range c.Kept {
		out.kept = append(out.kept, read(k.Generation, k.Snapshot, k.Until))
	}
	for _, s := range v.CloneSnapshots(c.ID) {
		if s.State == state.SnapshotReady && s.For == "" {
			out.snaps[s.Name] = m.rig.world.Content(fmt.Sprintf("c-%s-%d@%s", s.Clone, s.Generation, s.ID))
		}
	}
	return out
}

// doors checks that each clone that should answer answers to its own password
// and to no other clone's, on a port of its own.
func (m *model) doors() {
	m.t.Helper()
	list, _, err := m.rig.plane.ListClones(m.t.Context(), control.CloneFilter{}, 0, "")
	m.rig.must(err)
	ports := map[int]string{}
	for _, c := range list {
		if c.Port != 0 && ports[c.Port] != "" {
			m.t.Fatalf("%s and %s have port %d", c.Name, ports[c.Port], c.Port)
		}
		ports[c.Port] = c.Name
		if c.State != state.CloneReady {
			continue
		}
		m.rig.read(c)
		for _, other := range list {
			if _, err := m.rig.world.Read(c.Port, m.rig.plane.Endpoint(m.t.Context(), other).Password); err == nil && other.ID != c.ID {
				m.t.Fatalf("the password of %s opens %s", other.Name, c.Name)
			}
		}
	}
	used := 0
	for port := range ports {
		if port != 0 {
			used++
		}
	}
	if free := m.rig.plane.Status(m.t.Context()).PortsFree; free != 500-used {
		m.t.Fatalf("%d ports are free, with %d in use", free, used)
	}
}

// end deletes everything, and checks that nothing is left.
func (m *model) end() {
	for name := range m.holders {
		m.letGo(name)
	}
	ctx, p := context.Background(), m.rig.plane
	list, _, err := p.ListClones(m.t.Context(), control.CloneFilter{}, 0, "")
	m.rig.must(err)
	for _, c := range list {
		off := false
		_, err := p.UpdateClone(ctx, c.Name, control.CloneUpdate{Protect: &off})
		m.rig.must(err)
		m.rig.must(unless(p.DeleteClone(ctx, control.DeleteRequest{Name: c.Name, Now: true, Wait: true}), errs.NotFound))
	}
	for _, c := range p.DeletedClones(m.t.Context(), control.CloneFilter{}) {
		m.rig.must(unless(p.DeleteClone(ctx, control.DeleteRequest{Name: c.Name, Now: true, Wait: true}), errs.NotFound))
	}
	for _, g := range p.ListGoldens(m.t.Context()) {
		m.rig.must(p.DeleteGolden(ctx, g.Name))
	}
	m.rest()
	if left := m.rig.world.Things(); len(left) > 0 {
		m.t.Fatalf("left over: %v", left)
	}
	m.doors()
	if broken := m.rig.world.Broken(); len(broken) > 0 {
		m.t.Fatalf("the control plane broke promises: %v", broken)
	}
}
