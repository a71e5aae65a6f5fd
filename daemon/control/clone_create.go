package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// ttlMax is the longest life that may be asked for: ten years.
const ttlMax = 10 * 365 * 24 * time.Hour

// CreateClone makes a clone, or returns the one that the same request made
// (created is then false). Another request under a name that is taken is
// errs.Exists; a clone that failed without Wait gives its name up. If a limit
// stands in the way, the request waits for room for as long as Queue says.
func (p *Plane) CreateClone(ctx context.Context, req CreateRequest) (c state.Clone, created bool, err error) {
	if err := p.checkCreate(&req); err != nil {
		return state.Clone{}, false, err
	}
	if c, ok, err := p.sameClone(ctx, req); ok || err != nil {
		return p.joined(ctx, req, c, err)
	}
	who, golden := caller(ctx), req.Golden
	if parent, err := who.clone(p.store.View(), req.From); err == nil {
		golden = parent.Golden
	}
	var begun creation
	err = p.queue.admitWithin(ctx, who.Principal, golden, req.Queue, func() (err error) {
		begun, err = p.beginCreate(ctx, req)
		return err
	})
	switch {
	case err != nil:
		return state.Clone{}, false, err
	case begun.done == nil:
		return p.joined(ctx, req, begun.clone, nil)
	case !req.Wait:
		p.waiters.drop(cloneKey(begun.clone.ID), begun.done)
		return begun.clone, true, nil
	}
	c, err = p.result(ctx, begun.clone.ID, begun.done)
	return c, err == nil, err
}

// creation is a create that has begun: done is how to wait for it, nil if the same
// request had begun it before.
type creation struct {
	clone state.Clone
	done  *waiter
}

// beginCreate writes the record of a new clone and wakes its owner. It does not
// wait for anything.
func (p *Plane) beginCreate(ctx context.Context, req CreateRequest) (creation, error) {
	began := p.now()
	if c, ok, err := p.sameClone(ctx, req); ok || err != nil {
		return creation{clone: c}, err
	}
	c, err := p.admit(ctx, req)
	if err != nil {
		return creation{}, inPhase(PhaseAdmit, err)
	}
	op := &operation{name: OpCreate, request: RequestID(ctx), started: began}
	recording := p.now()
	op.timings = []state.Timing{{Phase: PhaseAdmit, Took: recording.Sub(began)}}
	p.metrics.Phase(OpCreate, PhaseAdmit, ResultOK, recording.Sub(began))
	p.begin(c.ID, op)
	key := cloneKey(c.ID)
	done := p.waiters.add(key, untilGeneration(1))
	err = p.step(stepCommitRequest, func() error {
		return p.store.Update(func(tx *state.Tx) error { return p.record(tx, caller(ctx), &c, req) })
	})
	if err != nil {
		p.waiters.drop(key, done)
		p.abandon(c)
		if errs.As(err).Reason == reasonSame { // another request was quicker
			c, _, err := p.sameClone(ctx, req)
			return creation{clone: c}, err
		}
		return creation{}, inPhase(PhaseAdmit, err)
	}
	p.lap(c.ID, PhaseCommit, recording, nil)
	p.owners.wake(key)
	return creation{c, done}, nil
}

// abandon takes back what a create reserved whose record was not written. If
// the record is there all the same, it stays: the next pass goes on with it.
func (p *Plane) abandon(c state.Clone) {
	p.drop(c.ID)
	p.letPortGo(c.ID, c.Port)
}

// result waits for a clone and returns it as it is then.
func (p *Plane) result(ctx context.Context, id string, done *waiter) (state.Clone, error) {
	if err := p.wait(ctx, cloneKey(id), done); err != nil {
		return state.Clone{}, err
	}
	c, ok := p.store.View().Clone(id)
	if !ok || c.State == state.CloneDeleting {
		return state.Clone{}, errDeleted()
	}
	return c, nil
}

// checkCreate validates a request and fills in defaults.
func (p *Plane) checkCreate(req *CreateRequest) error {
	for _, err := range []error{
		checkName("name", req.Name), checkOrigin(*req),
		checkText("branch", req.Branch), checkText("owner", req.Owner), checkLabels(req.Labels),
	} {
		if err != nil {
			return err
		}
	}
	switch {
	case req.Held && (req.TTL != 0 || req.Protect):
		return errs.Fieldf("held", "excludes ttl and protect: it lives while it is held")
	case req.Held:
		return nil
	}
	if req.TTL == 0 {
		req.anyTTL = true
		req.TTL = p.cfg.DefaultTTL
		if req.TTL == 0 {
			req.TTL = p.cfg.MaxTTL
		}
	}
	return p.checkTTL(req.TTL)
}

func (p *Plane) checkTTL(ttl time.Duration) error {
	switch {
	case ttl < 0:
		return errs.Fieldf("ttl", "%v must not be negative", ttl)
	case ttl == 0 && p.cfg.MaxTTL > 0, p.cfg.MaxTTL > 0 && ttl > p.cfg.MaxTTL:
		return errs.Fieldf("ttl", "must be at most %v here", p.cfg.MaxTTL)
	case ttl > ttlMax:
		return errs.Fieldf("ttl", "%v is more than ten years", ttl)
	}
	return nil
}

// expiry is the recorded end of a life that begins now; zero for none.
func (p *Plane) expiry(ttl time.Duration) time.Time {
	if ttl == 0 {
		return time.Time{}
	}
	return p.now().Round(0).Add(ttl)
}

// spec is a digest of all that a request asks for.
func (req CreateRequest) spec() string {
	req.Wait, req.Queue = false, 0
	raw, err := json.Marshal(req) // strings, numbers and a map of strings: no error
	if err != nil {
		raw = fmt.Append(nil, req)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16])
}

// reasonSame: the name is taken by what the same request made.
const reasonSame = "SAME_REQUEST"

// nameTaken says whether a clone stands in a request's way; an error of reason
// SAME_REQUEST if it is the very one that is asked for. Of a clone that is not
// there for the caller it tells that the name is taken, and no more.
func nameTaken(v *state.View, who Caller, req CreateRequest) (state.Clone, error) {
	c, ok := v.CloneNamed(req.Name)
	switch {
	case !ok:
		return c, nil
	case !who.sees(c):
		return c, errs.New(errs.Exists, "NAME_TAKEN", "the name %s is taken", req.Name).WithHint("choose another name")
	case replaceable(c) && who.changes(c):
		return c, nil
	case c.Spec == req.spec() && (c.Principal == who.Principal || c.Principal == "" && who.Change):
		return c, errs.New(errs.Exists, reasonSame, "clone %s exists", c.Name)
	default:
		return c, errs.New(errs.Exists, "NAME_TAKEN", "a clone named %s exists and was asked for differently (golden %s, branch %q, owner %q)", c.Name, c.Golden, c.Branch, c.Owner).
			WithHint("choose another name, or delete that clone first")
	}
}

// replaceable: nothing but the record of a failed create is left.
func replaceable(c state.Clone) bool {
	return c.State == state.CloneFailed && c.Generation == 0 && c.Next == 0
}

// sameClone returns the clone that the same request made.
func (p *Plane) sameClone(ctx context.Context, req CreateRequest) (state.Clone, bool, error) {
	c, err := nameTaken(p.store.View(), caller(ctx), req)
	switch {
	case err == nil:
		return state.Clone{}, false, nil
	case errs.As(err).Reason != reasonSame:
		return state.Clone{}, false, err
	}
	return c, true, nil
}

// joined is the answer to a request whose clone another one has made, once that is
// ready if the request waits.
func (p *Plane) joined(ctx context.Context, req CreateRequest, c state.Clone, err error) (state.Clone, bool, error) {
	if err != nil || !req.Wait || c.Generation != 0 {
		return c, false, err
	}
	done := p.waiters.add(cloneKey(c.ID), untilGeneration(1))
	// What happened between the look and the registration was not told.
	p.refreshNews(c.ID)
	p.owners.wake(cloneKey(c.ID)) // whoever asked first may have died before
	c, err = p.result(ctx, c.ID, done)
	return c, false, err
}

// refreshNews tells those who wait for a clone how it is now.
func (p *Plane) refreshNews(id string) {
	n := news{}
	if c, ok := p.store.View().Clone(id); ok {
		n.clone = &c
	}
	p.waiters.tell(cloneKey(id), n)
}

// admit checks what may forbid a clone and reserves its port. Nothing here
// takes time in proportion to the number of clones.
func (p *Plane) admit(ctx context.Context, req CreateRequest) (state.Clone, error) {
	if err := p.open(ctx); err != nil {
		return state.Clone{}, err
	}
	if _, _, err := chooseOrigin(p.store.View(), caller(ctx), req); err != nil {
		return state.Clone{}, err
	}
	if err := p.room(ctx, 0); err != nil {
		return state.Clone{}, err
	}
	var err error
	id, port := newID(), req.Port
	if port == 0 {
		port, err = p.ports.reserve(id)
	} else {
		err = p.ports.reserveOne(port, id)
	}
	if err != nil {
		return state.Clone{}, err
	}
	now := p.now().Round(0)
	return state.Clone{
		ID: id, Name: req.Name, Golden: req.Golden, Branch: req.Branch, Owner: req.Owner, Principal: caller(ctx).Principal,
		Labels: req.Labels, Protect: req.Protect, Spec: req.spec(),
		Created: now, Expires: p.expiry(req.TTL), Addr: p.cfg.Addr, Port: port,
		Held: req.Held, CountStatements: req.CountStatements, Next: 1, LastGeneration: 1, State: state.CloneCreating, DropOnFailure: req.Wait,
	}, nil
}

// record writes a new clone's record, after looking once more at what may have
// changed since it was admitted.
func (p *Plane) record(tx *state.Tx, who Caller, c *state.Clone, req CreateRequest) error {
	old, err := nameTaken(&tx.View, who, req)
	if err != nil {
		return err
	}
	if old.ID != "" {
		doom(tx, &old)
	}
	parent, s, err := chooseOrigin(&tx.View, who, req)
	if err == nil && s.ID == "" {
		if s, err = p.planSnapshot(tx, &parent, newID()); err == nil {
			s.For = c.ID
			tx.PutSnapshot(&s)
		}
	}
	if err != nil {
		return err
	}
	c.Golden, c.Snapshot, c.NextSnapshot = s.Golden, s.ID, s.ID
	if err := p.limit(&tx.View, who, c, req); err != nil {
		return err
	}
	tx.PutClone(c)
	return nil
}

// limit sets the limits that a new clone has, and refuses one that exceeds those of
// its principal, its golden or this host.
func (p *Plane) limit(v *state.View, who Caller, c *state.Clone, req CreateRequest) (err error) {
	if !req.Held {
		ttl := req.TTL
		if limit, _ := p.lifeLimit(who, c.Golden); req.anyTTL && limit > 0 {
			ttl = min(ttl, limit)
		}
		life, err := p.limitLife(who, c.Golden, ttl, req.Protect)
		if err != nil {
			return err
		}
		c.Expires = p.expiry(life)
	}
	if c.DiskBytes, err = p.diskLimit(who, c.Golden); err != nil {
		return err
	}
	g, err := who.golden(v, c.Golden)
	if err != nil {
		return err
	}
	c.MemoryBytes = p.memoryOf(g)
	return p.checkShare(v, who, state.Clone{}, *c)
}

// checkOrigin validates what a clone is to be made from.
func checkOrigin(req CreateRequest) error {
	switch {
	case (req.Golden == "") == (req.From == ""):
		return errs.Fieldf("golden", "exactly one of golden and from must be set")
	case req.From != "":
		return checkName("from", req.From)
	default:
		return checkName("golden", req.Golden)
	}
}

// chooseOrigin returns the snapshot that a clone is to be made from. It is empty
// for the present state of parent, the clone to fork.
func chooseOrigin(v *state.View, who Caller, req CreateRequest) (parent state.Clone, s state.Snapshot, err error) {
	if req.From == "" {
		s, err = chooseSnapshot(v, who, req.Golden, req.Snapshot)
		return state.Clone{}, s, err
	}
	parent, err = who.clone(v, req.From)
	switch {
	case err != nil:
		return parent, s, err
	case req.Snapshot != "":
		s, err = inLineage(v, who, parent, req.Snapshot)
	case parent.Generation == 0 || parent.State == state.CloneFailed:
		err = errBusy(parent)
	}
	return parent, s, err
}

// chooseSnapshot returns the golden's snapshot of the ID, or its newest for "".
func chooseSnapshot(v *state.View, who Caller, golden, id string) (state.Snapshot, error) {
	if _, err := who.golden(v, golden); err != nil {
		return state.Snapshot{}, err
	}
	if id == "" {
		if s, ok := v.NewestSnapshot(golden); ok {
			return s, nil
		}
		return state.Snapshot{}, errs.New(errs.Precondition, "NO_SNAPSHOT", "golden %s has no snapshot", golden).
			WithHint("refresh it: clonectl golden refresh %s", golden)
	}
	s, ok := v.Snapshot(id)
	switch {
	case !ok || s.Golden != golden || s.State == state.SnapshotDeleting || !who.seesSnapshot(v, s):
		return state.Snapshot{}, errSnapshot(id)
	case s.State != state.SnapshotReady:
		return state.Snapshot{}, errs.New(errs.Precondition, "NOT_PREPARED", "snapshot %s is still being prepared", id)
	}
	return s, nil
}

func errGolden(name string) error {
	return errs.New(errs.NotFound, "GOLDEN_NOT_FOUND", "there is no golden %q", name).WithHint("clonectl golden ls shows those there are")
}

func errSnapshot(id string) error {
	return errs.New(errs.NotFound, "SNAPSHOT_NOT_FOUND", "there is no snapshot %q", id).WithHint("clonectl snapshot ls shows those there are")
}

func errClone(name string) error {
	return errs.New(errs.NotFound, "CLONE_NOT_FOUND", "there is no clone %q", name).WithHint("clonectl ls shows those there are")
}
