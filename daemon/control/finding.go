package control

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// Severity says how bad a Finding is.
type Severity int

const (
	// Warning: it works, and somebody should look.
	Warning Severity = iota
	// Fault: something does not work, or is lost.
	Fault
)

// Finding is something that is not as it should be.
type Finding struct {
	// Check is what was looked at; see Health.Checks.
	Check    string
	Severity Severity
	Message  string
	// Remedy is what would mend it: a command, or what to look at.
	Remedy string
}

// WorstFirst sorts findings.
func WorstFirst(list []Finding) []Finding {
	slices.SortStableFunc(list, func(a, b Finding) int { return int(b.Severity) - int(a.Severity) })
	return list
}

// hintOf is the error's own remedy, if it has one.
func hintOf(err error, otherwise string) string {
	if err != nil && errs.As(err).Hint != "" {
		return errs.As(err).Hint
	}
	return otherwise
}

// seeLog is the remedy where only the log says more.
const seeLog = "see the daemon's log: journalctl -u cloned"

const freeSpace = "clonectl ls, clonectl rm --now NAME; then clonectl snapshot ls, clonectl snapshot rm ID"

// hostFacts is what is known of the host: from the last pass, for Status, or from
// a look just now, for CheckHealth. What follows from it is said here only.
type hostFacts struct {
	driver, runtime        string
	thin, isolated, limits bool
	space                  storage.Space
	spaceErr               error
	floor                  int64
	pool                   string    // what is wrong with the pool
	failure                error     // of the last pass
	orphans                int       // that no pass sweeps
	restored               time.Time // see state.View.Restored
	strangers, lost        []string
}

// What is looked at.
const (
	checkStorage   = "storage"
	checkSpace     = "space"
	checkPool      = "pool"
	checkRuntime   = "runtime"
	checkNetwork   = "network"
	checkState     = "state"
	checkPasses    = "passes"
	checkOrphans   = "orphans"
	checkStrangers = "strangers"
	checkClones    = "clones"
	checkSnapshots = "snapshots"
	checkImages    = "images"
	checkKept      = "kept"
	checkPorts     = "ports"
	checkClock     = "clock"
)

// report collects the findings of one check.
type report struct {
	check string
	into  *[]Finding
}

func (r *report) say(severity Severity, remedy, format string, args ...any) {
	*r.into = append(*r.into, Finding{r.check, severity, fmt.Sprintf(format, args...), remedy})
}

// findings says what is not as it should be.
func (h hostFacts) findings() []Finding {
	var out []Finding
	add := func(is bool, check string, severity Severity, remedy, format string, args ...any) {
		if is {
			out = append(out, Finding{check, severity, fmt.Sprintf(format, args...), remedy})
		}
	}
	add(h.spaceErr != nil, checkSpace, Fault, hintOf(h.spaceErr, seeLog),
		"storage %s does not tell its space: %v", h.driver, h.spaceErr)
	add(!h.thin, checkStorage, Warning, "put storage on ZFS, btrfs or XFS with reflinks",
		"storage %s copies: a clone takes time and space in proportion to its data", h.driver)
	add(!h.isolated, checkRuntime, Warning, "use Docker: nothing else keeps clones from the network",
		"runtime %s does not keep clones from reaching the network", h.runtime)
	add(!h.limits, checkRuntime, Warning, "use Docker",
		"runtime %s does not enforce limits of memory, CPU and processes", h.runtime)
	add(h.space.Total > 0 && h.space.Free < h.floor, checkSpace, Fault, freeSpace,
		"the pool has %s free, less than the floor of %s: nothing can be created", mib(h.space.Free), mib(h.floor))
	add(h.pool != "", checkPool, Fault, "zpool status -x",
		"the pool of storage %s is not well: %s", h.driver, h.pool)
	add(h.failure != nil, checkPasses, Fault, hintOf(h.failure, seeLog),
		"the last reconciliation failed: %v", h.failure)
	if h.restored.IsZero() {
		add(h.orphans > 0, checkOrphans, Fault, "clonectl gc --dry-run",
			"%d orphans are more than a pass may sweep: none was; clonectl gc lists them", h.orphans)
	} else {
		add(h.orphans > 0, checkOrphans, Warning, "clonectl gc --dry-run",
			"%d orphans are not swept, for a backup of the state was put back at %s, and does not know what was made after it; clonectl gc lists them",
			h.orphans, h.restored.Format(time.RFC3339))
	}
	add(len(h.strangers) > 0, checkStrangers, Warning, "put a newer state back (cloned state restore), or remove them with docker rm, zfs destroy or btrfs subvolume delete",
		"with this installation's mark but unknown to its state: %s (was an old state put back?)", strings.Join(h.strangers, ", "))
	add(len(h.lost) > 0, checkSnapshots, Fault, "clonectl golden refresh NAME, then clonectl snapshot rm ID",
		"snapshots whose volume has vanished: %s", strings.Join(h.lost, ", "))
	return out
}

// hostFacts is what the passes noted; the space is not theirs.
func (p *Plane) hostFacts() hostFacts {
	driver, runtime := p.cfg.Driver.Capabilities(), p.cfg.Runtime.Capabilities()
	p.health.mu.Lock()
	defer p.health.mu.Unlock()
	h := &p.health
	facts := hostFacts{
		driver: p.cfg.Driver.Name(), runtime: p.cfg.Runtime.Name(), floor: p.cfg.FloorBytes,
		// Whether the network is fenced off is found out by the first pass.
		thin: driver.Thin, isolated: runtime.Isolated || h.last.IsZero(), limits: runtime.Limits,
		pool: h.pool, failure: h.err, restored: p.store.View().Restored(), strangers: h.strangers, lost: h.lost,
	}
	if h.alarm {
		facts.orphans = h.orphans
	}
	return facts
}
