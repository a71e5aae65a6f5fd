// Package storagetest is the conformance suite of the storage contract: Run
// holds a driver to every sentence of package storage, on the real filesystem.
//
// A driver's tests say in Config how to make a driver and how to do by hand
// what the contract speaks of. Nothing in here knows a particular filesystem.
package storagetest

import (
	"testing"

	"github.com/cloned-db/cloned/storage"
)

// Config tells the suite how to handle one driver. Its functions fail the test
// themselves, and undo what they did in t.Cleanup.
type Config struct {
	// New makes a driver over an empty root of its own. All that the driver
	// still owns when the test ends is removed with the root.
	New func(t *testing.T) storage.Driver
	// Reopen makes another driver value for d's root and instance, as a restart
	// of the daemon does.
	Reopen func(t *testing.T, d storage.Driver) storage.Driver
	// Other makes a driver for d's root and another instance.
	Other func(t *testing.T, d storage.Driver) storage.Driver
	// Stranger makes by hand, at the place where d would have the volume of this
	// ID, something like a volume without d's mark, and more of the same
	// elsewhere under the root if there are other places for it. It returns a
	// function that tells whether all of that is still there.
	Stranger func(t *testing.T, d storage.Driver, id string) (present func() bool)
	// Full makes a driver over a pool so small that a program can fill it (some
	// ten to hundred MiB), and which nothing else uses.
	Full func(t *testing.T) storage.Driver
	// Foreign makes a foreign dataset in d's pool. Nil for drivers without the
	// capability.
	Foreign func(t *testing.T, d storage.Driver) Foreign
	// NotForeign returns names that ForeignPath must refuse, beyond malformed
	// and absent ones: what is not mounted, or lies in another pool. Optional.
	NotForeign func(t *testing.T, d storage.Driver) []string
	// Leftover leaves behind what a call that died while it made the volume of
	// this ID leaves. Nil if a single command makes a volume.
	Leftover func(t *testing.T, d storage.Driver, id string)
	// Comparison handles what a Changed that died left. Nil if it leaves nothing.
	Comparison *Comparison
	// Dependents says that a snapshot can't be destroyed while volumes descend
	// from it. Without it, it can, and the volumes live on.
	Dependents bool
	// Commands returns how many outside commands d has run.
	Commands func(d storage.Driver) int64
	// HotCommands is how many outside commands Snapshot, Clone and Stat may run.
	HotCommands int64
}

// Foreign is a dataset that the driver did not make.
type Foreign struct {
	// Name is the driver's name for it, Path where the host sees it.
	Name, Path string
	// Snapshot makes a snapshot of it as its owner would, with a name of which
	// the driver could think that it is an ID of its own.
	Snapshot func(t *testing.T, name string)
	// Snapshots lists the names of the owner's snapshots.
	Snapshots func(t *testing.T) []string
}

// Comparison is what a storage.Differ has of its own while it compares.
type Comparison struct {
	// Leave leaves behind what a Changed of the volume that died leaves.
	Leave func(t *testing.T, d storage.Driver, volume string)
	// Left reports whether there is such a thing.
	Left func(t *testing.T, d storage.Driver, volume string) bool
}

// Run runs the suite.
func Run(t *testing.T, cfg Config) {
	tests := []struct {
		name string
		run  func(*testing.T, Config)
	}{
		{"Example", testExample},
		{"InvalidNames", testInvalidNames},
		{"Absent", testAbsent},
		{"Idempotent", testIdempotent},
		{"Conflicts", testConflicts},
		{"Isolation", testIsolation},
		{"Deep", testDeep},
		{"Attributes", testAttributes},
		{"AtomicSnapshot", testAtomicSnapshot},
		{"OrderedSnapshot", testOrderedSnapshot},
		{"VolumeWithSnapshots", testVolumeWithSnapshots},
		{"SnapshotWithClones", testSnapshotWithClones},
		{"List", testList},
		{"Strangers", testStrangers},
		{"OtherInstance", testOtherInstance},
		{"Concurrent", testConcurrent},
		{"Canceled", testCanceled},
		{"CanceledMidway", testCanceledMidway},
		{"Leftovers", testLeftovers},
		{"PoolFull", testPoolFull},
		{"Usage", testUsage},
		{"Space", testSpace},
		{"Quota", testQuota},
		{"HotCommands", testHotCommands},
		{"ChangedFew", testChangedFew},
		{"ChangedNames", testChangedNames},
		{"ChangedPlaces", testChangedPlaces},
		{"ChangedOddNames", testChangedOddNames},
		{"ChangedSince", testChangedSince},
		{"ChangedForeign", testChangedForeign},
		{"ChangedMidway", testChangedMidway},
		{"SnapshotUsage", testSnapshotUsage},
		{"Foreign", testForeign},
		{"ForeignOwnersSnapshots", testForeignOwnersSnapshots},
		{"ForeignRefused", testForeignRefused},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, cfg) })
	}
}
