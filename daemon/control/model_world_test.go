package control_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// modelWorld is what one client's things are, as the client knows them. A client
// that was not answered has more than one.
type modelWorld struct {
	clones map[string]*modelClone
	// deleted are those that can be brought back, by name, the last one last.
	deleted map[string][]*modelClone
	goldens map[string]*modelGolden
}

// modelClone is a clone.
type modelClone struct {
	golden, spec, label              string
	now                              modelState
	suspended, protect, held, failed bool
	expires                          span
	kept                             []modelState // oldest first
	snaps                            map[string]string
}

// modelState is a state that a clone is or was in: what it reads, and what a
// reset takes it back to.
type modelState struct {
	content, origin string
	own             string // the snapshot of the clone's own that it came from
	until           span   // is it kept, until then
}

// modelGolden is a golden and what its snapshots hold, oldest first.
type modelGolden struct {
	clone    string // that it is made from
	contents []string
}

// span is when something is known to be; zero for never.
type span struct{ from, to time.Time }

func (s span) after(d time.Duration) span {
	if d == 0 {
		return span{}
	}
	return span{s.from.Add(d), s.to.Add(d)}
}

func (s span) contains(t time.Time) bool {
	return s.from.IsZero() && t.IsZero() || !s.from.IsZero() && !t.Before(s.from) && !t.After(s.to)
}

func newModelWorld() *modelWorld {
	return &modelWorld{clones: map[string]*modelClone{}, deleted: map[string][]*modelClone{}, goldens: map[string]*modelGolden{}}
}

func (w *modelWorld) copy() *modelWorld {
	out := newModelWorld()
	for name, c := range w.clones {
		out.clones[name] = c.copy()
	}
	for name, list := range w.deleted {
		for _, c := range list {
			out.deleted[name] = append(out.deleted[name], c.copy())
		}
	}
	for name, g := range w.goldens {
		out.goldens[name] = &modelGolden{g.clone, slices.Clone(g.contents)}
	}
	return out
}

func (c *modelClone) copy() *modelClone {
	out := *c
	out.kept, out.snaps = slices.Clone(c.kept), maps.Clone(c.snaps)
	return &out
}

// snapshot is what the snapshot of the name holds. What the clone came from is
// there as long as it is, even if it was deleted.
func (c *modelClone) snapshot(name string) string {
	if content := c.snaps[name]; content != "" || c.now.own != name {
		return content
	}
	return c.now.origin
}

// replace makes the clone what it is reset to; what it was is kept if keep is not 0.
func (c *modelClone) replace(by modelState, at span, keep time.Duration) {
	if keep > 0 {
		old := c.now
		old.until = at.after(keep)
		c.kept = append(c.kept, old)
	}
	by.until = span{}
	c.now = by
}

// remove deletes a clone; it can be brought back if keep is not 0.
func (w *modelWorld) remove(name string, at span, keep time.Duration) {
	c := w.clones[name]
	delete(w.clones, name)
	if keep > 0 && !c.held && !c.failed {
		c.now.until = at.after(keep)
		w.deleted[name] = append(w.deleted[name], c)
	}
}

// pass forgets what is over at the time.
func (w *modelWorld) pass(now time.Time, keepExpired time.Duration) {
	over := func(s span) bool { return !s.to.IsZero() && !s.to.After(now) }
	for name, c := range w.clones {
		if over(c.expires) && !c.protect && !c.held {
			w.remove(name, span{c.expires.from, now}, keepExpired)
		}
	}
	forget := func(c *modelClone) {
		c.kept = slices.DeleteFunc(c.kept, func(s modelState) bool { return over(s.until) })
	}
	for _, c := range w.clones {
		forget(c)
	}
	for name, list := range w.deleted {
		w.deleted[name] = slices.DeleteFunc(list, func(c *modelClone) bool { return over(c.now.until) })
		for _, c := range w.deleted[name] {
			forget(c)
		}
	}
}

// ends are the times at which something is over.
func (w *modelWorld) ends() (all []time.Time) {
	add := func(c *modelClone) {
		all = append(all, c.expires.from, c.now.until.from)
		for _, k := range c.kept {
			all = append(all, k.until.from)
		}
	}
	for _, c := range w.clones {
		add(c)
	}
	for _, list := range w.deleted {
		for _, c := range list {
			add(c)
		}
	}
	return all
}

// String tells all but the times.
func (w *modelWorld) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(w.clones)) {
		fmt.Fprintf(&b, "  clone %s %v\n", name, w.clones[name])
	}
	for _, name := range slices.Sorted(maps.Keys(w.deleted)) {
		for _, c := range w.deleted[name] {
			fmt.Fprintf(&b, "  deleted %s %v\n", name, c)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.goldens)) {
		fmt.Fprintf(&b, "  golden %s %q\n", name, w.goldens[name].contents)
	}
	return b.String()
}

func (c *modelClone) String() string {
	if c.failed {
		return "failed"
	}
	out := fmt.Sprintf("of %s reads %q from %q", c.golden, c.now.content, c.now.origin)
	for _, k := range c.kept {
		out += fmt.Sprintf(", kept %q from %q", k.content, k.origin)
	}
	for _, s := range slices.Sorted(maps.Keys(c.snaps)) {
		out += fmt.Sprintf(", snapshot %s %q", s, c.snaps[s])
	}
	return fmt.Sprintf("%s, suspended %v, protect %v, held %v, label %q", out, c.suspended, c.protect, c.held, c.label)
}

// fits says why a world that was found is not this one, but for times that it
// does not know exactly; those found are taken over.
func (w *modelWorld) fits(found *modelWorld) error {
	if a, b := w.String(), found.String(); a != b {
		return fmt.Errorf("there should be\n%sthere is\n%s", a, b)
	}
	for name, c := range w.clones {
		if err := c.fitTimes(found.clones[name]); err != nil {
			return fmt.Errorf("clone %s: %w", name, err)
		}
	}
	for name, list := range w.deleted {
		for i, c := range list {
			if err := c.fitTimes(found.deleted[name][i]); err != nil {
				return fmt.Errorf("deleted clone %s: %w", name, err)
			}
		}
	}
	return nil
}

func (c *modelClone) fitTimes(found *modelClone) error {
	fit := func(what string, want *span, have span) error {
		if !want.contains(have.from) {
			return fmt.Errorf("%s %v, want %v to %v", what, have.from, want.from, want.to)
		}
		*want = have
		return nil
	}
	if !c.held { // its daemon says when
		if err := fit("it expires", &c.expires, found.expires); err != nil {
			return err
		}
	}
	if err := fit("it is kept until", &c.now.until, found.now.until); err != nil {
		return err
	}
	for i := range c.kept {
		if err := fit("a state is kept until", &c.kept[i].until, found.kept[i].until); err != nil {
			return err
		}
	}
	return nil
}
