package zfs

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloned-db/cloned/internal/command"
	"github.com/cloned-db/cloned/storage"
)

// Driver is the storage.Driver on OpenZFS. Open makes one.
type Driver struct {
	// parent is the dataset above all volumes, in pool, mounted at mountpoint.
	parent, pool, mountpoint string
	// parentGUID tells the parent from another dataset of the same name.
	parentGUID string
	// loaded is the pool's load_guid; see fence.
	loaded atomic.Pointer[string]
	// instance is the value of the birth mark.
	instance string
	runner   *command.Runner
	// mine has the volumes that were seen to bear our mark, each with loaded as it
	// was then, so that nobody waits for another look to take a snapshot.
	mine sync.Map // string → *string
	// held has what snapshots refer to, by name, in bytes: it never changes.
	held sync.Map // string → int64
}

var _ storage.Driver = (*Driver)(nil)

// Name returns "zfs".
func (d *Driver) Name() string { return "zfs" }

// Capabilities returns all of them.
func (d *Driver) Capabilities() storage.Capabilities {
	return storage.Capabilities{Thin: true, Foreign: true, Origins: true, Atomic: true, Ordered: true}
}

// bear runs the verb that makes a dataset, with the birth mark in the same
// command, and returns when.
func (d *Driver) bear(ctx context.Context, verb string, rest ...string) (time.Time, error) {
	now := time.Now().UTC()
	var args []string
	for _, property := range d.birth(now) {
		args = append(args, "-o", property)
	}
	return now, d.run(ctx, verb, append(args, rest...)...)
}

// birth returns the properties of a dataset that is born now.
func (d *Driver) birth(now time.Time) []string {
	return []string{markProperty + "=" + d.instance, createdProperty + "=" + now.UTC().Format(time.RFC3339Nano)}
}
