package bench

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
	"github.com/cloned-db/cloned/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// TestBench measures everything on the environments of CLONED_BENCH. It is no
// test of speed: it fails only if something does not work.
func TestBench(t *testing.T) {
	environments := os.Getenv("CLONED_BENCH")
	if environments == "" {
		t.Skip("CLONED_BENCH names no environment: see make bench")
	}
	var out rows
	for _, name := range strings.Split(environments, ",") {
		driver, runtime, _ := strings.Cut(name, "+")
		t.Run(name, func(t *testing.T) {
			b := &bench{t: t, env: name, rows: &out, short: os.Getenv("CLONED_BENCH_SHORT") != ""}
			b.start(driver, runtime, "")
			b.run()
		})
		t.Run(name+"/undo", func(t *testing.T) {
			b := &bench{t: t, env: name, rows: &out, short: os.Getenv("CLONED_BENCH_SHORT") != ""}
			b.start(driver, runtime, "undo=24h") // as by default
			b.runUndo()
		})
		// Five hundred containers are more than the machine holds, and the short form
		// is for slow ones.
		if runtime != "process" || os.Getenv("CLONED_BENCH_SHORT") != "" {
			continue
		}
		t.Run(name+"/reconcile", func(t *testing.T) {
			b := &bench{t: t, env: name, rows: &out}
			b.start(driver, runtime, "")
			b.golden("tiny", 500, 0)
			b.reconcile("tiny")
		})
	}
	out.write(t)
}

type bench struct {
	t     *testing.T
	env   string
	e     *harness.Env
	rows  *rows
	short bool
	made  int

	api     clonedv1.CloneServiceClient
	goldens clonedv1.GoldenServiceClient
}

const (
	alone   = 16
	few     = 8 // of everything, in the short form
	rounds  = 8
	crowd   = 16
	present = 200
)

// start makes an environment of its own, with settings of harness.New.
func (b *bench) start(driver, runtime, extra string) {
	b.t.Helper()
	b.e = harness.New(b.t, driver, runtime, extra)
	b.e.Start()
	conn := b.e.Dial()
	b.api, b.goldens = clonedv1.NewCloneServiceClient(conn), clonedv1.NewGoldenServiceClient(conn)
}

func (b *bench) run() {
	b.small()
	if b.short {
		b.alone("small", "", few)
		b.branch("small", few)
		b.changes("small", "", 0, few)
		b.tests("small", block)
		return
	}
	b.trust()
	small, smallFloor := b.alone("small", "", alone)
	b.atOnce("small")
	b.space("small")
	b.branch("small", alone)
	b.tests("small", 10*block)

	b.golden("large", 10_000, 1960)
	large, _ := b.alone("large", "/2GB", alone)
	b.compare("create/size_2GB_vs_100MB", large, small)
	b.changes("large", "/2GB", 1000, alone)

	b.crowd("small", small, smallFloor)
}

// runUndo measures what may depend on what is kept for undo.
func (b *bench) runUndo() {
	b.small()
	n := alone
	if b.short {
		n = few
	}
	b.undo("small", n)
}

// small makes the golden that most is measured on.
func (b *bench) small() {
	b.t.Helper()
	if b.short {
		b.golden("small", 4_000, 30)
		return
	}
	b.golden("small", 10_000, 60)
}

// golden makes a golden of the shop with fillMB megabytes more.
func (b *bench) golden(name string, orders, fillMB int) {
	b.t.Helper()
	dir := harness.DataDirectory(b.t, orders, fillMB)
	begin := time.Now()
	b.e.Ctl("golden", "create", name, "--from-directory", dir)
	b.t.Logf("golden %s made in %v", name, time.Since(begin).Round(time.Millisecond))
}

// alone measures create, reset and delete one after the other, each beside its
// floor: floor and daemon take turns, so that both see the same machine. It
// returns what the creates took, and their floor.
func (b *bench) alone(golden, suffix string, n int) (create, floorCreate []time.Duration) {
	b.t.Helper()
	ctx := b.t.Context()
	f := newFloor(b.t, b.e, b.e.Create("template-"+golden, "--golden", golden))
	var reset, remove, floorReset, floorRemove []time.Duration
	for i := range n + 1 {
		m := b.floorCreate(f)
		begin := time.Now()
		b.check(f.remove(ctx, m.made))
		floorRemoved := time.Since(begin)

		name := b.name()
		created := b.took(func() error { return b.create(ctx, name, golden) })
		resetTook := b.took(func() error {
			_, err := b.api.ResetClone(ctx, &clonedv1.ResetCloneRequest{Name: name})
			return err
		})
		removed := b.took(func() error {
			_, err := b.api.DeleteClone(ctx, &clonedv1.DeleteCloneRequest{Name: name})
			return err
		})
		if i == 0 {
			continue // the first of each warms caches
		}
		floorCreate = append(floorCreate, m.took)
		floorRemove = append(floorRemove, floorRemoved)
		// A reset has to stop the old instance and make a new one.
		floorReset = append(floorReset, m.took+floorRemoved)
		create, reset, remove = append(create, created), append(reset, resetTook), append(remove, removed)
	}
	b.rows.add(b.env+"/create"+suffix, create, floorCreate)
	b.rows.add(b.env+"/reset"+suffix, reset, floorReset)
	b.rows.add(b.env+"/delete"+suffix, remove, floorRemove)
	b.e.Ctl("rm", "template-"+golden)
	return create, floorCreate
}

type timedMade struct {
	made
	took time.Duration
}

func (b *bench) floorCreate(f *floor) timedMade {
	b.t.Helper()
	begin := time.Now()
	m, err := f.create(b.t.Context())
	b.check(err)
	return timedMade{m, time.Since(begin)}
}

// atOnce measures sixteen creates, resets and deletes at the same time, until
// the last has ended.
func (b *bench) atOnce(golden string) {
	b.t.Helper()
	ctx := b.t.Context()
	f := newFloor(b.t, b.e, b.e.Create("template-"+golden, "--golden", golden))
	var create, reset, remove, floorCreate, floorReset, floorRemove []time.Duration
	for range rounds {
		var mu sync.Mutex
		var all []made
		fc := b.together(func(int) error {
			m, err := f.create(ctx)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, m)
			return err
		})
		fr := b.together(func(i int) error { return f.remove(ctx, all[i]) })
		floorCreate, floorRemove, floorReset = append(floorCreate, fc), append(floorRemove, fr), append(floorReset, fc+fr)

		names := make([]string, crowd)
		for i := range names {
			names[i] = b.name()
		}
		create = append(create, b.together(func(i int) error { return b.create(ctx, names[i], golden) }))
		reset = append(reset, b.together(func(i int) error {
			_, err := b.api.ResetClone(ctx, &clonedv1.ResetCloneRequest{Name: names[i]})
			return err
		}))
		remove = append(remove, b.together(func(i int) error {
			_, err := b.api.DeleteClone(ctx, &clonedv1.DeleteCloneRequest{Name: names[i]})
			return err
		}))
	}
	b.rows.add(b.env+"/create_16_at_once", create, floorCreate)
	b.rows.add(b.env+"/reset_16_at_once", reset, floorReset)
	b.rows.add(b.env+"/delete_16_at_once", remove, floorRemove)
	b.e.Ctl("rm", "template-"+golden)
}

// space measures what an idle clone takes of the pool.
func (b *bench) space(golden string) {
	b.t.Helper()
	before := b.settled()
	names := make([]string, crowd)
	for i := range names {
		names[i] = b.name()
	}
	b.together(func(i int) error { return b.create(b.t.Context(), names[i], golden) })
	each := float64(b.e.PoolUsed()-before) / crowd / (1 << 20)
	b.rows.put(Row{Name: b.env + "/space_of_idle_clone", Unit: "MiB", P50: each, P95: each, N: crowd})
	for _, name := range names {
		b.e.Ctl("rm", name)
	}
}

// settled returns what is used of the pool once the space of what was destroyed
// has come back, which takes the filesystem some seconds.
func (b *bench) settled() int64 {
	b.t.Helper()
	used := b.e.PoolUsed()
	for same := 0; same < 3; {
		time.Sleep(5 * time.Second)
		now := b.e.PoolUsed()
		if same++; now != used {
			used, same = now, 0
		}
	}
	return used
}

// crowd measures creates with two hundred clones there, and the daemon's memory.
// What the machine itself has become slower by, with two hundred databases on
// it, the floor tells: the second row takes it out.
func (b *bench) crowd(golden string, without, floorWithout []time.Duration) {
	b.t.Helper()
	for i := range present {
		b.check(b.create(b.t.Context(), fmt.Sprintf("crowd-%d", i), golden))
	}
	// What happened just before should not be measured: let it settle.
	time.Sleep(5 * time.Second)
	with, floorWith := b.alone(golden, "/with_200_clones", alone)
	b.compare("create/200_clones_vs_0", with, without)
	slower := float64(percentile(floorWith, 50)) / float64(percentile(floorWithout, 50))
	scaled := make([]time.Duration, len(without))
	for i, d := range without {
		scaled[i] = time.Duration(float64(d) * slower)
	}
	b.compare("create/200_clones_vs_0_beside_floor", with, scaled)
	resident := float64(b.e.Resident()) / (1 << 20)
	b.rows.put(Row{Name: b.env + "/daemon_resident_with_200_clones", Unit: "MiB", P50: resident, P95: resident, N: 1})
	for i := range present {
		b.e.Ctl("rm", fmt.Sprintf("crowd-%d", i))
	}
}

// compare puts one measurement beside another as its floor.
func (b *bench) compare(name string, took, base []time.Duration) {
	b.rows.add(b.env+"/"+name, took, base)
}

func (b *bench) create(ctx context.Context, name, golden string) error {
	resp, err := b.api.CreateClone(ctx, &clonedv1.CreateCloneRequest{Name: name, Golden: golden})
	if err != nil {
		return err
	}
	if !resp.Created || resp.Clone.State != clonedv1.CloneState_CLONE_STATE_READY {
		return fmt.Errorf("%s: created %v, %v", name, resp.Created, resp.Clone.State)
	}
	return nil
}

func (b *bench) name() string {
	b.made++
	return fmt.Sprintf("bench-%d", b.made)
}

func (b *bench) took(f func() error) time.Duration {
	b.t.Helper()
	begin := time.Now()
	b.check(f())
	return time.Since(begin)
}

func (b *bench) together(f func(i int) error) time.Duration {
	b.t.Helper()
	errors := make([]error, crowd)
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range crowd {
		wg.Go(func() { errors[i] = f(i) })
	}
	wg.Wait()
	took := time.Since(begin)
	for _, err := range errors {
		b.check(err)
	}
	return took
}

func (b *bench) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}
