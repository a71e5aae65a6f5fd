package control_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/daemon/control/controltest"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/state"
)

// rig is a world with one daemon at a time.
type rig struct {
	t     testing.TB
	path  string
	world *controltest.World
	tune  func(*control.Config)
	ahead atomic.Int64 // how far the clock is ahead of the real one

	mu      sync.Mutex
	fault   func(point string) error
	session *controltest.Session
	store   *state.Store
	plane   *control.Plane
	cancel  context.CancelFunc
	done    chan error
}

var errInjected = errors.New("injected fault")

func newRig(t testing.TB, tune func(*control.Config)) *rig {
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "state.db"), world: controltest.NewWorld(), tune: tune}
	r.start()
	t.Cleanup(func() {
		r.stop()
		for _, b := range r.world.Broken() {
			t.Error("the control plane broke a promise:", b)
		}
	})
	return r
}

func (r *rig) open() {
	r.t.Helper()
	var err error
	if r.store, err = state.Open(r.path, state.Options{}); err != nil {
		r.t.Fatal(err)
	}
	r.session = r.world.Session()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("CLONED_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	cfg := control.Config{
		Store: r.store, Driver: controltest.Driver{Session: r.session}, Runtime: controltest.Runtime{Session: r.session},
		Engines: map[string]database.Engine{"postgres": controltest.Engine{Session: r.session}},
		Log:     log, Instance: "test", Addr: "127.0.0.1", PortFirst: 23000, PortLast: 23499,
		Key: make([]byte, 32), ReconcileEvery: 20 * time.Millisecond,
		Now: r.now,
		Fault: func(point string) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.fault == nil {
				return nil
			}
			return r.fault(point)
		},
	}
	if r.tune != nil {
		r.tune(&cfg)
	}
	if cfg.Clock.Since == nil {
		// Nobody sets the clock: what a test puts it ahead is time that went by.
		cfg.Clock = control.BootClock{Boot: "test", Since: func() time.Duration { return cfg.Now().Sub(time.Unix(0, 0)) }}
	}
	if r.plane, err = control.New(cfg); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) start() {
	r.t.Helper()
	r.open()
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.done = cancel, make(chan error, 1)
	go func(p *control.Plane, done chan error) { done <- p.Run(ctx) }(r.plane, r.done)
}

// stop ends the daemon in an orderly way.
func (r *rig) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Error("run:", err)
	}
	r.done <- nil // stop may be called again
	if err := r.store.Close(); err != nil {
		r.t.Error("close:", err)
	}
}

// die makes all that the daemon does from now on come to nothing.
func (r *rig) die() error {
	r.session.Kill()
	return r.store.Close()
}

// dieAt has the daemon die at a fault point, and tells when it has.
func (r *rig) dieAt(point string) (died <-chan struct{}) {
	done := make(chan struct{})
	r.setFault(func(p string) error {
		if p != point || r.dead() {
			return nil
		}
		defer close(done)
		return r.die()
	})
	return done
}

// dead says whether die was called since the last start.
func (r *rig) dead() bool { return r.session.Dead() }

// pass lets time go by.
func (r *rig) pass(d time.Duration) { r.ahead.Add(int64(d)) }

// now is what the daemon's clock shows.
func (r *rig) now() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) }

// rest waits for the next pass, as a client waits before it tries again.
func (r *rig) rest() {
	began := r.now()
	r.eventually("next pass", func() error {
		if r.plane.Status(r.ctx()).LastReconcile.After(began) {
			return nil
		}
		return errInjected
	})
}

func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	r.start()
}

func (r *rig) setFault(f func(point string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = f
}

func (r *rig) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	r.t.Cleanup(cancel)
	return ctx
}

func goldenRequest(name string) control.CreateGoldenRequest {
	return control.CreateGoldenRequest{Name: name, Source: state.GoldenSource{Kind: "directory", Directory: "/" + name}}
}

func (r *rig) golden(name string) state.Snapshot {
	r.t.Helper()
	_, s, err := r.plane.CreateGolden(r.ctx(), goldenRequest(name), nil)
	if err != nil {
		r.t.Fatal("create golden:", err)
	}
	return s
}

func (r *rig) create(name string) state.Clone {
	r.t.Helper()
	c, _, err := r.plane.CreateClone(r.ctx(), control.CreateRequest{Name: name, Golden: "shop", Wait: true})
	if err != nil {
		r.t.Fatal("create clone:", err)
	}
	return c
}

func (r *rig) get(name string) state.Clone {
	r.t.Helper()
	c, err := r.plane.GetClone(r.ctx(), name)
	if err != nil {
		r.t.Fatal("get clone:", err)
	}
	return c
}

// read is what a user of the clone reads.
func (r *rig) read(c state.Clone) string {
	r.t.Helper()
	content, err := r.world.Read(c.Port, r.plane.Endpoint(r.ctx(), c).Password)
	if err != nil {
		r.t.Fatal("read:", err)
	}
	return content
}

// write is what a user of the clone does.
func (r *rig) write(c state.Clone, content string) {
	r.world.Write(instance(c), content)
}

func instance(c state.Clone) string { return fmt.Sprintf("c-%s-%d", c.ID, c.Generation) }

// eventually waits until is returns nil. A daemon that has died is started again.
func (r *rig) eventually(what string, is func() error) {
	r.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if r.dead() {
			r.restart()
		}
		err := is()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(2 * time.Millisecond) // an interval of looking, not of waiting for something
	}
}

func (r *rig) eventuallyState(name string, want state.CloneState) state.Clone {
	r.t.Helper()
	var c state.Clone
	r.eventually(name, func() (err error) {
		if c, err = r.plane.GetClone(r.ctx(), name); err == nil && c.State != want {
			err = fmt.Errorf("is %s (%s), want %s", c.State, c.Message, want)
		}
		return err
	})
	return c
}

// atRest waits until all clones and goldens are whole and nothing else is there.
func (r *rig) atRest() {
	r.t.Helper()
	r.eventually("at rest", r.whole)
}

// whole says what is not as it is at rest.
func (r *rig) whole() error {
	var want []string
	v := r.store.View()
	for c := range v.Clones() {
		name := instance(c)
		kept := keptGenerations(v, c)
		volumes := slices.Clone(kept)
		for _, k := range c.Kept {
			if !k.Settled {
				return fmt.Errorf("clone %s: kept generation %d is not settled", c.Name, k.Generation)
			}
			if !slices.Contains(volumes, k.Generation) {
				volumes = append(volumes, k.Generation)
			}
		}
		kept = slices.DeleteFunc(kept, c.IsKept)
		if !c.KeptUntil.IsZero() && !slices.Contains(volumes, c.Generation) {
			volumes = append(volumes, c.Generation)
		}
		for _, g := range volumes {
			want = append(want, fmt.Sprintf("volume c-%s-%d", c.ID, g))
		}
		if c.State == state.CloneDeleting && c.KeptUntil.IsZero() {
			for _, g := range c.Generations() {
				if !slices.Contains(volumes, g) {
					return fmt.Errorf("clone %s is deleted, and holds generation %d", c.Name, g)
				}
			}
		}
		switch {
		case c.State == state.CloneDeleting && len(volumes) > 0:
		case !slices.Equal(slices.Sorted(slices.Values(c.Trash)), kept) || c.Next != 0 || len(c.Taking) > 0:
			return fmt.Errorf("clone %s is %s with trash %v and next %d", c.Name, c.State, c.Trash, c.Next)
		case c.State == state.CloneReady:
			want = append(want, "volume "+name, "instance "+name)
		case c.State == state.CloneSuspended:
			want = append(want, "volume "+name)
		case c.State == state.CloneFailed && c.Generation == 0:
		default:
			return fmt.Errorf("clone %s is %s: %s", c.Name, c.State, c.Message)
		}
	}
	for _, s := range v.Snapshots("") {
		if s.State != state.SnapshotReady && !(s.State == state.SnapshotDeleting && used(v, s)) {
			return fmt.Errorf("snapshot %s is %s", s.ID, s.State)
		}
		if s.Clone != "" {
			want = append(want, fmt.Sprintf("snapshot c-%s-%d@%s", s.Clone, s.Generation, s.ID))
			continue
		}
		want = append(want, "volume g-"+s.ID, "snapshot g-"+s.ID+"@ready")
		if s.Foreign != "" {
			want = append(want, "snapshot "+s.Foreign+"@"+s.ID)
		}
	}
	sort.Strings(want)
	if have := r.world.Things(); !slices.Equal(have, want) {
		return fmt.Errorf("there is\n  %s\nwanted\n  %s", strings.Join(have, "\n  "), strings.Join(want, "\n  "))
	}
	return nil
}

// keptGenerations are those that are only there for the snapshots in them.
func keptGenerations(v *state.View, c state.Clone) []int64 {
	var out []int64
	for _, s := range v.CloneSnapshots(c.ID) {
		if g := s.Generation; (g != c.Generation || c.State == state.CloneDeleting) && !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	slices.Sort(out)
	return out
}

// used says whether a clone came from the snapshot (another one than its own, if
// that is deleted), or what another snapshot is in.
func used(v *state.View, s state.Snapshot) bool {
	for c := range v.Clones() {
		for _, k := range c.Kept {
			if k.Snapshot == s.ID {
				return true
			}
		}
		if c.Snapshot == s.ID {
			return true
		}
	}
	return slices.ContainsFunc(v.Snapshots(""), func(other state.Snapshot) bool { return other.Parent == s.ID })
}
