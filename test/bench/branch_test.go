package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
	"github.com/cloned-db/cloned/test/harness"
)

const (
	// deep is how long the line of forks is.
	deep = 20
	// dirty is for how long a clone is written to before each of the checkpoints
	// that are compared, so that each has the same to write.
	dirty = 200 * time.Millisecond
	// forgotten is after how long the daemon has no session any more that has taken a
	// checkpoint.
	forgotten = 3500 * time.Millisecond
)

// branch measures snapshots of a clone under write load beside the bare
// checkpoint and filesystem snapshot, and forks of it beside creates from the
// golden.
func (b *bench) branch(golden string, n int) {
	b.t.Helper()
	ctx := b.t.Context()
	parent := b.e.Create("parent", "--golden", golden)
	stop := b.load(parent)
	f := newFloor(b.t, b.e, parent)
	conn, err := pgx.Connect(ctx, parent.Endpoint.URL)
	b.check(err)
	defer conn.Close(ctx)

	checkpoint := func() error {
		_, err := conn.Exec(ctx, "CHECKPOINT")
		return err
	}
	connected := func() error {
		conn, err := pgx.Connect(ctx, parent.Endpoint.URL)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "CHECKPOINT")
		go conn.Close(ctx) // which waits for the server
		return err
	}
	bare := func(checkpoint func() error, freeze bool) func(i int) time.Duration {
		return func(i int) time.Duration {
			time.Sleep(dirty)
			took := b.took(func() error { return errors.Join(checkpoint(), f.frozen(ctx, freeze, i)) })
			b.check(f.removeSnapshot(ctx, i))
			return took
		}
	}
	ours := func(int) time.Duration {
		time.Sleep(dirty)
		var taken *clonedv1.SnapshotCloneResponse
		took := b.took(func() (err error) {
			taken, err = b.api.SnapshotClone(ctx, &clonedv1.SnapshotCloneRequest{Name: "parent"})
			return err
		})
		_, err := b.goldens.DeleteSnapshot(ctx, &clonedv1.DeleteSnapshotRequest{Id: taken.Snapshot.Id})
		b.check(err)
		return took
	}
	measure := []func(i int) time.Duration{ours, bare(checkpoint, false)}
	if b.e.Driver != "zfs" {
		measure = append(measure, bare(checkpoint, true))
	}
	// One after the other, both have a session that is open.
	snapshots := b.turns(n, measure...)
	b.rows.within(1.5, b.env+"/snapshot_under_load", snapshots[0], snapshots[1])
	if b.e.Driver != "zfs" {
		// This filesystem keeps no order among writes, so that a bare snapshot is of
		// no use to a server that forces none to disk: this is what a safe one takes.
		b.rows.add(b.env+"/snapshot_under_load_vs_frozen", snapshots[0], snapshots[2])
	}
	// The first of a while, both begin a session.
	first := func(i int) time.Duration {
		time.Sleep(forgotten)
		b.check(checkpoint())
		return ours(i)
	}
	firsts := b.turns(n, first, bare(connected, false))
	b.rows.within(1.5, b.env+"/snapshot_under_load/first", firsts[0], firsts[1])

	made := func(kind string, make func(ctx context.Context, name, from string) error, from string) func(i int) time.Duration {
		return func(i int) time.Duration {
			time.Sleep(dirty)
			name := fmt.Sprintf("%s-%d", kind, i)
			defer b.remove(ctx, name)
			return b.took(func() error { return make(ctx, name, from) })
		}
	}
	clones := b.turns(n, made("cold", b.create, golden), made("fork", b.fork, "parent"))
	b.rows.within(1.25, b.env+"/fork_vs_create", clones[1], clones[0])
	b.check(stop())
	if !b.short || b.e.Runtime == "process" { // containers take too long where the form is short
		b.line(golden, n)
	}
	b.e.Ctl("rm", "parent")
}

// line measures forks of the first and the last of a line of forks, each of which
// has written something of its own.
func (b *bench) line(golden string, n int) {
	b.t.Helper()
	ctx := b.t.Context()
	names := []string{"line-0"}
	b.check(b.create(ctx, names[0], golden))
	b.write("line-0", "CREATE TABLE line (note text)")
	for i := 1; i <= deep; i++ {
		b.note(names[i-1])
		names = append(names, fmt.Sprintf("line-%d", i))
		b.check(b.fork(ctx, names[i], names[i-1]))
	}
	of := func(parent string) func(i int) time.Duration {
		return func(i int) time.Duration {
			b.note(parent)
			name := fmt.Sprintf("of-%s-%d", parent, i)
			defer b.remove(ctx, name)
			return b.took(func() error { return b.fork(ctx, name, parent) })
		}
	}
	forks := b.turns(n, of(names[0]), of(names[deep]))
	b.rows.within(1.1, fmt.Sprintf("%s/fork/%d_deep_vs_1", b.env, deep), forks[1], forks[0])
	b.remove(ctx, names...)
}

// note writes a little to a clone of the line.
func (b *bench) note(clone string) {
	b.t.Helper()
	b.write(clone, "INSERT INTO line SELECT repeat('x', 200) FROM generate_series(1, 100)")
}

// write runs SQL in a clone.
func (b *bench) write(clone, sql string) {
	b.t.Helper()
	ctx := b.t.Context()
	conn, err := pgx.Connect(ctx, b.e.Show(clone).Endpoint.URL)
	b.check(err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	b.check(err)
}

// turns measures each of several things n times: they take turns, and each round
// begins with another of them, some going the other way, so that all see the same
// machine and none always comes after the same. A first round warms caches.
func (b *bench) turns(n int, measure ...func(i int) time.Duration) [][]time.Duration {
	all := make([][]time.Duration, len(measure))
	for i := range n + 1 {
		for j := range measure {
			which := (i + j) % len(measure)
			if i/len(measure)%2 == 1 {
				which = len(measure) - 1 - which
			}
			if took := measure[which](i); i > 0 {
				all[which] = append(all[which], took)
			}
		}
	}
	return all
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

// frozen takes a bare snapshot of the template's volume, whose server is frozen
// meanwhile or not.
func (f *floor) frozen(ctx context.Context, freeze bool, i int) error {
	if !freeze {
		return f.snapshotVolume(ctx, i)
	}
	err := f.freeze(ctx)
	if err == nil {
		err = f.snapshotVolume(ctx, i)
	}
	return errors.Join(err, f.thaw(ctx))
}

func (f *floor) freeze(ctx context.Context) error {
	if f.docker != nil {
		return f.docker.ContainerPause(ctx, f.inspect.ID)
	}
	return f.signal(syscall.SIGSTOP)
}

func (f *floor) thaw(ctx context.Context) error {
	if f.docker != nil {
		return f.docker.ContainerUnpause(ctx, f.inspect.ID)
	}
	return f.signal(syscall.SIGCONT)
}

// signal sends a signal to the template's server and then to what it has started.
func (f *floor) signal(s syscall.Signal) error {
	if err := syscall.Kill(f.pid, s); err != nil {
		return err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", f.pid))
	if err != nil {
		return err
	}
	for _, field := range strings.Fields(string(children)) {
		child, err := strconv.Atoi(field)
		if err == nil {
			err = syscall.Kill(child, s)
		}
		if err != nil && !errors.Is(err, syscall.ESRCH) { // ended meanwhile
			return err
		}
	}
	return nil
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
