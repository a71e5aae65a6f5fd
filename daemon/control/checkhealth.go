package control

import (
	"context"
	"fmt"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// Health is what CheckHealth found.
type Health struct {
	// Checks are what was looked at, and Findings what is wrong, the worst first.
	Checks   []string
	Findings []Finding
}

// checkWithin bounds CheckHealth, whatever hangs.
const checkWithin = 20 * time.Second

// examination is what one CheckHealth saw.
type examination struct {
	p        *Plane
	host     hostFacts
	observed Observed
	want     Want
	orphans  []string
	images   map[string]error // what is wrong with those that clones run, by identity
	kept     int64            // bytes, of all that can be brought back
	taken    []int            // ports that something listens on
	err      struct{ volumes, instances, runtime, setup, state, images, kept, ports error }
}

// CheckHealth looks at everything now, not at what the last pass noted, changes
// nothing, and says what is wrong and what would mend it. What does not answer in
// time is a finding, too.
func (p *Plane) CheckHealth(ctx context.Context) Health {
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	e := p.examine(ctx)
	var h Health
	for _, check := range []struct {
		name string
		do   func(*report)
	}{
		{checkStorage, e.storage}, {checkSpace, e.space}, {checkPool, nil}, {checkRuntime, e.runtime}, {checkNetwork, e.network},
		{checkState, e.state}, {checkPasses, e.passes}, {checkOrphans, e.someOrphans}, {checkStrangers, nil},
		{checkClones, e.clones}, {checkSnapshots, e.snapshots}, {checkImages, e.goldens}, {checkKept, e.budget},
		{checkPorts, e.ports}, {checkClock, e.clock},
	} {
		if (check.name == checkClones || check.name == checkPorts) && !caller(ctx).All {
			continue // they name clones
		}
		h.Checks = append(h.Checks, check.name)
		for _, f := range e.host.findings() {
			if f.Check == check.name {
				h.Findings = append(h.Findings, f)
			}
		}
		if check.do != nil { // else the host's facts say all
			check.do(&report{check: check.name, into: &h.Findings})
		}
	}
	h.Findings = WorstFirst(h.Findings)
	return h
}

// examine looks. All looks go on at the same time, each as long as there is time:
// one that hangs hides nothing of the others.
func (p *Plane) examine(ctx context.Context) *examination {
	e := &examination{p: p, host: p.hostFacts()}
	volumes := look(p, "volumes", dated(p, p.listVolumes))
	instances := look(p, "instances", dated(p, p.listInstances))
	space := look(p, "space", p.cfg.Driver.Space)
	pool := look(p, "pool", func(ctx context.Context) (string, error) { return p.poolHealth(ctx), nil })
	runtime := look(p, "runtime", nothing(p.cfg.Runtime.Check))
	setup := look(p, "setup", nothing(p.cfg.Runtime.CheckSetup))
	records := look(p, "state", func(context.Context) (struct{}, error) { return struct{}{}, p.store.Check() })
	images := look(p, "images", p.findImages)
	kept := look(p, "kept", p.measureKept)

	v, err := volumes(ctx)
	e.err.volumes = err
	i, err := instances(ctx)
	e.err.instances = err
	e.taken, e.err.ports = p.ports.listening()
	e.want = p.want() // after the observation: so what has no record is an orphan
	e.observed = Observed{Inventory: v.seen, Instances: i.seen, Since: min(v.since, i.since)}
	e.host.space, e.host.spaceErr = space(ctx)
	if e.host.pool, err = pool(ctx); err != nil {
		e.host.pool = err.Error()
	}
	_, e.err.runtime = runtime(ctx)
	_, e.err.setup = setup(ctx)
	_, e.err.state = records(ctx)
	e.images, e.err.images = images(ctx)
	e.kept, e.err.kept = kept(ctx)
	e.host.isolated = e.host.isolated || e.err.setup != nil // which says more
	e.host.orphans, e.host.strangers, e.host.lost = 0, nil, nil
	if e.complete() {
		for _, a := range planOrphans(e.want, e.observed) {
			e.orphans = append(e.orphans, a.Orphan.String())
		}
		if len(e.orphans) > p.cfg.SweepLimit || !e.host.restored.IsZero() {
			e.host.orphans = len(e.orphans)
		}
		e.host.strangers, e.host.lost = strangers(e.want, e.observed), lostSnapshots(e.want, e.observed)
	}
	return e
}

// complete says that what was observed is all there is.
func (e *examination) complete() bool { return e.err.volumes == nil && e.err.instances == nil }

// sight is what was seen, and the state's revision before that.
type sight[T any] struct {
	seen  T
	since uint64
}

func dated[T any](p *Plane, at func(context.Context) (T, error)) func(context.Context) (sight[T], error) {
	return func(ctx context.Context) (s sight[T], err error) {
		s.since = p.store.View().Revision()
		s.seen, err = at(ctx)
		return s, err
	}
}

// look begins to look at something and returns a function that waits for what is
// seen. A look that hangs does so once: who comes later waits for the same one.
// Anything may have begun it, so what is seen may be a moment older than the call.
func look[T any](p *Plane, what string, at func(context.Context) (T, error)) func(context.Context) (T, error) {
	done := p.looks.DoChan(what, func() (any, error) {
		ctx, cancel := context.WithTimeout(p.ctx, checkWithin)
		defer cancel()
		return at(ctx)
	})
	return func(ctx context.Context) (seen T, err error) {
		select {
		case r := <-done:
			seen, _ = r.Val.(T)
			return seen, r.Err
		case <-ctx.Done():
			return seen, errs.New(errs.Unavailable, "NO_ANSWER", "no answer within %v", checkWithin)
		}
	}
}

// nothing is a look that tells only whether all is well.
func nothing(check func(context.Context) error) func(context.Context) (struct{}, error) {
	return func(ctx context.Context) (struct{}, error) { return struct{}{}, check(ctx) }
}

// measureKept is what all that can be brought back takes, as far as it is there.
func (p *Plane) measureKept(ctx context.Context) (sum int64, err error) {
	if p.cfg.KeepBytes <= 0 {
		return 0, nil
	}
	for _, k := range p.keptStates(p.store.View()) {
		usage, err := p.cfg.Driver.Usage(ctx, k.volume())
		if err != nil && !errs.Is(err, errs.NotFound) {
			return 0, err
		}
		sum += usage.Unique
	}
	return sum, nil
}

// findImages looks for the images that clones are started with.
func (p *Plane) findImages(ctx context.Context) (map[string]error, error) {
	missing := map[string]error{}
	for _, s := range readySnapshots(p.store.View(), "") {
		if _, seen := missing[s.ImageID]; seen {
			continue
		}
		_, err := p.cfg.Runtime.FindImage(ctx, s.ImageID)
		if err != nil && errs.As(err).Reason != container.ReasonImageMissing {
			return nil, fmt.Errorf("looking for image %s: %w", s.Image, err)
		}
		missing[s.ImageID] = err
	}
	return missing, nil
}
