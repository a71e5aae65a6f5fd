package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
	"github.com/cloned-db/cloned/test/harness"
)

// deep is how long the line of forks is.
const deep = 20

// branch measures snapshots of a clone under write load beside the bare
// checkpoint and filesystem snapshot; forks of it beside creates from the golden;
// and forks at the end of a long line beside those at its beginning.
func (b *bench) branch(golden string, n int) {
	b.t.Helper()
	ctx := b.t.Context()
	parent := b.e.Create("parent", "--golden", golden)
	stop := b.load(parent)
	f := newFloor(b.t, b.e, parent)
	conn, err := pgx.Connect(ctx, parent.Endpoint.URL)
	b.check(err)
	defer conn.Close(ctx)

	var snapshot, floorSnapshot, create, fork []time.Duration
	for i := range n + 1 {
		bare := b.took(func() error {
			if _, err := conn.Exec(ctx, "CHECKPOINT"); err != nil {
				return err
			}
			return f.snapshotVolume(ctx, i)
		})
		var taken *clonedv1.SnapshotCloneResponse
		ours := b.took(func() (err error) {
			taken, err = b.api.SnapshotClone(ctx, &clonedv1.SnapshotCloneRequest{Name: "parent"})
			return err
		})
		_, err := b.goldens.DeleteSnapshot(ctx, &clonedv1.DeleteSnapshotRequest{Id: taken.Snapshot.Id})
		b.check(errors.Join(err, f.removeSnapshot(ctx, i)))
		created := b.took(func() error { return b.create(ctx, fmt.Sprintf("cold-%d", i), golden) })
		forked := b.took(func() error { return b.fork(ctx, fmt.Sprintf("fork-%d", i), "parent") })
		b.remove(ctx, fmt.Sprintf("cold-%d", i), fmt.Sprintf("fork-%d", i))
		if i > 0 { // the first of each warms caches
			snapshot, floorSnapshot = append(snapshot, ours), append(floorSnapshot, bare)
			create, fork = append(create, created), append(fork, forked)
		}
	}
	b.rows.add(b.env+"/snapshot_under_load", snapshot, floorSnapshot)
	b.rows.add(b.env+"/fork_vs_create", fork, create)
	b.check(stop())
	if !b.short {
		b.line(golden, n)
	}
	b.e.Ctl("rm", "parent")
}

// line measures forks of the first and the last of a line of forks.
func (b *bench) line(golden string, n int) {
	b.t.Helper()
	ctx := b.t.Context()
	b.check(b.create(ctx, "line-1", golden))
	names := []string{"line-1"}
	for i := 2; i <= deep; i++ {
		name := fmt.Sprintf("line-%d", i)
		b.check(b.fork(ctx, name, names[len(names)-1]))
		names = append(names, name)
	}
	var first, last []time.Duration
	for i := range n {
		one, two := fmt.Sprintf("of-first-%d", i), fmt.Sprintf("of-last-%d", i)
		first = append(first, b.took(func() error { return b.fork(ctx, one, names[0]) }))
		last = append(last, b.took(func() error { return b.fork(ctx, two, names[deep-1]) }))
		b.remove(ctx, one, two)
	}
	b.compare(fmt.Sprintf("fork/%d_deep_vs_1", deep), last, first)
	b.remove(ctx, names...)
}

func (b *bench) fork(ctx context.Context, name, from string) error {
	_, err := b.api.CreateClone(ctx, &clonedv1.CreateCloneRequest{Name: name, From: from})
	return err
}

func (b *bench) remove(ctx context.Context, names ...string) {
	b.t.Helper()
	for _, name := range names {
		_, err := b.api.DeleteClone(ctx, &clonedv1.DeleteCloneRequest{Name: name})
		b.check(err)
	}
}

// load writes to a clone, one transaction after the other, until stopped.
func (b *bench) load(c harness.Clone) (stop func() error) {
	b.t.Helper()
	ctx := b.t.Context()
	conn, err := pgx.Connect(ctx, c.Endpoint.URL)
	b.check(err)
	_, err = conn.Exec(ctx, "CREATE TABLE load (id bigint PRIMARY KEY, note text)")
	b.check(err)
	end, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		defer conn.Close(context.WithoutCancel(ctx))
		for id := 0; ; id++ {
			if _, err := conn.Exec(ctx, "INSERT INTO load VALUES ($1, repeat('x', 200))", id); err != nil {
				ended <- err
				return
			}
			select {
			case <-end:
				ended <- nil
				return
			case <-time.After(time.Millisecond): // a steady load, not all that the machine has
			}
		}
	}()
	return func() error {
		close(end)
		return <-ended
	}
}

// snapshotVolume takes a snapshot of the template's volume by the bare command.
func (f *floor) snapshotVolume(ctx context.Context, i int) error {
	if f.e.Driver == "zfs" {
		return command(ctx, "zfs", "snapshot", f.floorSnapshot(i))
	}
	return command(ctx, "btrfs", "subvolume", "snapshot", "-r", f.volume, f.floorSnapshot(i))
}

func (f *floor) removeSnapshot(ctx context.Context, i int) error {
	if f.e.Driver == "zfs" {
		return command(ctx, "zfs", "destroy", f.floorSnapshot(i))
	}
	return command(ctx, "btrfs", "subvolume", "delete", f.floorSnapshot(i))
}

func (f *floor) floorSnapshot(i int) string {
	name := fmt.Sprintf("floor-s-%d", i)
	if f.e.Driver == "zfs" {
		return f.e.VolumeDataset(f.template) + "@" + name
	}
	return filepath.Join(filepath.Dir(f.volume), "..", "..", name)
}
