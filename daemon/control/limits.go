package control

import (
	"context"
	"fmt"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// bound is a limit on what the clones of somebody or something take together.
type bound struct {
	of          string
	taken       state.Share
	clones      int
	memoryBytes int64
	// scope is who may wait for the same: see fullError.
	scope string
}

// bounds are those that hold for a clone of the caller's.
func (p *Plane) bounds(v *state.View, who Caller, c state.Clone) []bound {
	golden := p.cfg.GoldenLimits[c.Golden]
	all := []bound{
		{"this host", v.ShareOfAll(), p.cfg.MaxClones, p.cfg.MemoryBytes, scopeHost},
		{"golden " + c.Golden, v.ShareOfGolden(c.Golden), golden.Clones, golden.MemoryBytes, scopeOf(c.Golden)},
	}
	if who.made(c) {
		all = append(all, bound{who.Principal, v.ShareOfPrincipal(who.Principal), who.Limits.Clones, who.Limits.MemoryBytes, ""})
	}
	return all
}

// Reasons of errors for limits that are reached.
const (
	reasonCloneLimit  = "CLONE_LIMIT"
	reasonMemoryLimit = "MEMORY_LIMIT"
	reasonTTLLimit    = "TTL_LIMIT"
)

// fullError is the cause of an error for something that others may give up. scope
// says who waits for the same: everybody (scopeHost), those who want a clone of a
// golden (scopeOf), or nobody else.
type fullError struct{ scope, text string }

// Error is what the error around it says.
func (e fullError) Error() string { return e.text }

const scopeHost = "host"

func scopeOf(golden string) string { return "golden " + golden }

// full makes the error for a limit that is reached.
func (b bound) full(reason, format string, args ...any) *errs.Error {
	return errs.New(errs.Exhausted, reason, "%w", fullError{b.scope, fmt.Sprintf(format, args...)})
}

// checkShare refuses a change of a clone, with which it takes more than before, if
// a limit is then exceeded. Nothing is counted here.
func (p *Plane) checkShare(v *state.View, who Caller, before, after state.Clone) error {
	more := state.ShareOf(after).Minus(state.ShareOf(before))
	for _, b := range p.bounds(v, who, after) {
		if b.clones > 0 && more.Clones > 0 && b.taken.Clones+more.Clones > b.clones {
			return b.full(reasonCloneLimit, "%s has %d clones, and at most %d are allowed", b.of, b.taken.Clones, b.clones).
				WithHint("delete clones that are not needed (clonectl ls), or wait for room with --wait")
		}
		if b.memoryBytes == 0 || more.MemoryBytes <= 0 && (after.MemoryBytes > 0 || more.Clones <= 0) {
			continue
		}
		if after.MemoryBytes == 0 {
			return errs.New(errs.Precondition, "NO_MEMORY_LIMIT", "the memory of %s is limited, and a clone of golden %s has no limit of its own that could be counted", b.of, after.Golden).
				WithHint("give the golden a limit, or all clones: clones.memory in the daemon's configuration")
		}
		if b.taken.MemoryBytes+more.MemoryBytes > b.memoryBytes {
			return b.full(reasonMemoryLimit, "the clones of %s may use %s of memory together, of %s at most, and this one needs %s",
				b.of, mib(b.taken.MemoryBytes), mib(b.memoryBytes), mib(after.MemoryBytes)).
				WithHint("suspend or delete clones that are not needed (clonectl ls), or wait for room with --wait")
		}
	}
	return nil
}

// lifeLimit returns the longest life that the caller may give a clone of a golden,
// and whose limit that is; 0 for no limit.
func (p *Plane) lifeLimit(who Caller, golden string) (limit time.Duration, of string) {
	limit, of = who.Limits.MaxTTL, who.Principal
	if g := p.cfg.GoldenLimits[golden].MaxTTL; g > 0 && (limit == 0 || g < limit) {
		limit, of = g, "clones of golden "+golden
	}
	return limit, of
}

// limitLife returns the life of a clone for which ttl was asked, 0 for as long as
// it may have; more than that is refused, and so is protection, which has no end.
func (p *Plane) limitLife(who Caller, golden string, ttl time.Duration, protect bool) (time.Duration, error) {
	limit, of := p.lifeLimit(who, golden)
	switch {
	case limit == 0:
	case protect:
		return 0, errs.New(errs.Exhausted, reasonTTLLimit, "%s may live %v at most, and a protected clone has no end", of, limit).
			WithHint("extend it instead: clonectl extend")
	case ttl > limit:
		return 0, errs.New(errs.Exhausted, reasonTTLLimit, "%s may live %v at most, and %v is asked for", of, limit, ttl).
			WithHint("ask for at most that; clonectl extend gives it as much again")
	case ttl == 0:
		return limit, nil
	}
	return ttl, nil
}

// diskLimit is what a clone's volume may grow by; errs.Precondition where the
// storage can't promise that.
func (p *Plane) diskLimit(who Caller, golden string) (int64, error) {
	limit := who.Limits.DiskBytes
	if g := p.cfg.GoldenLimits[golden].DiskBytes; g > 0 && (limit == 0 || g < limit) {
		limit = g
	}
	if _, can := p.cfg.Driver.(storage.Quota); limit > 0 && !can {
		return 0, errs.New(errs.Precondition, "NO_QUOTA", "a clone of golden %s may grow by %s at most, and storage %s can't hold it to that", golden, mib(limit), p.cfg.Driver.Name()).
			WithHint("ask the daemon's operator to take the limit away, or to keep goldens on ZFS")
	}
	return limit, nil
}

// memoryOf is what an instance of a golden's clones may use; 0 for no limit.
func (p *Plane) memoryOf(g state.Golden) int64 {
	if g.Options.MemoryBytes > 0 {
		return g.Options.MemoryBytes
	}
	return p.cfg.CloneMemoryBytes
}

// cloneVolume clones a snapshot into a volume of the clone's, within its limit.
func (p *Plane) cloneVolume(ctx context.Context, c state.Clone, s state.Snapshot, volume string) (storage.Volume, error) {
	if c.DiskBytes == 0 {
		return p.cfg.Driver.Clone(ctx, refOf(s), volume)
	}
	quota, can := p.cfg.Driver.(storage.Quota)
	if !can {
		return storage.Volume{}, fmt.Errorf("storage %s has no quota", p.cfg.Driver.Name())
	}
	return quota.CloneWithin(ctx, refOf(s), volume, c.DiskBytes)
}
