package control

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/state"
)

// BootClock is a clock that nobody sets.
type BootClock struct {
	// Boot is the ID of the host's present boot; empty if it has none.
	Boot string
	// Since returns how long ago that was, the time that the host slept included.
	Since func() time.Duration
}

// hostClock is the kernel's.
func hostClock() BootClock {
	// Without an ID there is nothing to tell after a restart of the daemon.
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		id = nil
	}
	began := time.Now()
	return BootClock{Boot: strings.TrimSpace(string(id)), Since: func() time.Duration {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
			return time.Since(began)
		}
		return time.Duration(now.Nano())
	}}
}

// clockTolerance is how far the host's clock may have moved against the boot's
// without having been set: it is made to run a little faster or slower.
const clockTolerance = 5 * time.Second

// followClock moves all recorded times with the host's clock if that was set: they
// are then as far away as they were before. seen is the state's revision when the
// clock was last looked at, 0 for a daemon that has just started: what was recorded
// after it may be by the new time already, and rather stays too long than too short.
func (p *Plane) followClock(seen uint64) error {
	if p.cfg.Clock.Boot == "" {
		return nil
	}
	zero := p.now().Add(-p.cfg.Clock.Since()).Round(0)
	was := p.store.View().Clock()
	known := was.Boot == p.cfg.Clock.Boot
	set := zero.Sub(was.Zero)
	if known && set.Abs() < clockTolerance {
		return nil
	}
	err := p.store.Update(func(tx *state.Tx) error {
		tx.PutClock(state.Clock{Boot: p.cfg.Clock.Boot, Zero: zero})
		if !known {
			return nil
		}
		for _, c := range slices.Collect(tx.Clones()) {
			if set < 0 && seen != 0 && c.Revision > seen {
				continue
			}
			if moveTimes(&c, set) {
				tx.PutClone(&c)
			}
		}
		return nil
	})
	if err == nil && known {
		p.log.Warn("the host's clock was set: what expires does so as much later or earlier", "by", set)
	}
	return err
}

// moveTimes moves the times of a record at which something goes; false if it has
// none.
func moveTimes(c *state.Clone, by time.Duration) (any bool) {
	times := []*time.Time{&c.Expires, &c.KeptUntil}
	for i := range c.Kept {
		times = append(times, &c.Kept[i].Until)
	}
	for _, at := range times {
		if !at.IsZero() {
			*at, any = at.Add(by), true
		}
	}
	return any
}

// deadline is when something goes by the boot's clock: the recorded time, seen
// once, is turned into one of that, so that a jump of the host's clock deletes
// nothing early.
type deadline struct {
	recorded time.Time
	due      time.Duration
}

// forever is long enough, and can be added to.
const forever = math.MaxInt64 / 2

// byClock returns the record with its times by that clock: when it expires, not
// at all while it is held, and until when what is kept is.
func (p *Plane) byClock(c state.Clone) state.Clone {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holders[c.ID] > 0 {
		c.Expires = time.Time{}
	}
	least := time.Duration(math.MinInt64)
	if c.Held { // after a restart of the daemon its holder has to come back first
		least = HoldGrace
	}
	c.Expires = p.deadline(c.ID, c.Expires, least)
	c.KeptUntil = p.deadline(c.ID+"/", c.KeptUntil, math.MinInt64)
	c.Kept = slices.Clone(c.Kept)
	for i, k := range c.Kept {
		c.Kept[i].Until = p.deadline(fmt.Sprint(c.ID, "/", k.Generation), k.Until, math.MinInt64)
	}
	return c
}

// deadline turns a recorded time, at least least from now when it is first seen,
// into one that is as far from now as it is by the boot's clock. p.mu is held.
func (p *Plane) deadline(key string, recorded time.Time, least time.Duration) time.Time {
	if recorded.IsZero() {
		return recorded
	}
	now, since := p.now(), p.cfg.Clock.Since()
	d, ok := p.deadlines[key]
	if !ok || !d.recorded.Equal(recorded) {
		d = deadline{recorded: recorded, due: since + min(max(recorded.Sub(now), least), forever)}
		p.deadlines[key] = d
	}
	return now.Add(d.due - since)
}
