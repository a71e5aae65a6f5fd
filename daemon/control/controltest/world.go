// Package controltest is a world for tests of the control plane: a storage
// driver, a container runtime and a database engine in memory, which keep the
// promises of their contracts and notice when the control plane breaks its own.
//
// A World outlives daemons. A Session is one daemon's view of it: what a killed
// session still tries has no effect, as if its process were dead.
package controltest

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/secret"
	"github.com/cloned-db/cloned/storage"
)

// World is all that is outside a daemon.
type World struct {
	mu        sync.Mutex
	volumes   map[string]*volume
	snapshots map[storage.SnapshotRef]string // to content
	instances map[string]*instance
	foreign   map[string]string // dataset to content
	busy      map[string]bool   // IDs with a call under way
	broken    []string          // promises broken by the control plane
	calls     map[string]int
	listeners map[chan container.Event]struct{}
	down      map[string]error  // calls that fail now, by name
	before    map[string]func() // what happens before a call, by name
	free      int64
}

type volume struct {
	content  string
	password string // of the database's role: a part of the data, not of the instance
	origin   *storage.SnapshotRef
	created  time.Time
}

type instance struct {
	spec    container.Spec
	task    bool
	state   container.State
	exit    int
	oom     bool
	started time.Time
}

// NewWorld returns a world with an empty pool of 1 TiB.
func NewWorld() *World {
	return &World{
		volumes: map[string]*volume{}, snapshots: map[storage.SnapshotRef]string{}, instances: map[string]*instance{},
		foreign: map[string]string{}, busy: map[string]bool{}, calls: map[string]int{},
		listeners: map[chan container.Event]struct{}{}, down: map[string]error{}, before: map[string]func(){}, free: 1 << 40,
	}
}

// Session is one daemon's hands in a World.
type Session struct {
	World *World
	dead  atomic.Bool
}

// Session opens a new one.
func (w *World) Session() *Session { return &Session{World: w} }

// Kill ends the session: nothing that it tries from now on has an effect.
func (s *Session) Kill() { s.dead.Store(true) }

// Dead says whether Kill was called.
func (s *Session) Dead() bool { return s.dead.Load() }

// call counts a call and runs it under the world's lock, unless it is to fail.
func (s *Session) call(name, id string, do func(w *World) error) error {
	w := s.World
	w.mu.Lock()
	if first := w.before[name]; first != nil {
		w.mu.Unlock()
		first()
		w.mu.Lock()
	}
	defer w.mu.Unlock()
	if s.dead.Load() {
		return errs.New(errs.Unavailable, "DEAD", "%s %s: this daemon is dead", name, id)
	}
	w.calls[name]++
	if err := w.down[name]; err != nil {
		return err
	}
	return do(w)
}

// effect is call for what changes something: the control plane does that in
// named steps only, so that tests can break it there.
func (s *Session) effect(name, id string, do func(w *World) error) error {
	if w := s.World; outsideSteps() {
		w.mu.Lock()
		w.breaks("%s %s: not in a step (see fault.go)", name, id)
		w.mu.Unlock()
	}
	return s.call(name, id, do)
}

// controlPlane begins the names of the control plane's functions.
const controlPlane = "github.com/cloned-db/cloned/daemon/control."

// outsideSteps says whether the control plane is calling, and not in a step.
func outsideSteps() bool {
	var callers [64]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers[:])])
	ours := false
	for {
		frame, more := frames.Next()
		if frame.Function == controlPlane+"(*Plane).step" {
			return false
		}
		ours = ours || strings.HasPrefix(frame.Function, controlPlane)
		if !more {
			return ours
		}
	}
}

// exclusive is effect for what may run once at a time for an ID.
func (s *Session) exclusive(name, id string, do func(w *World) error) error {
	w := s.World
	w.mu.Lock()
	if !s.dead.Load() && w.busy[id] {
		w.breaks("%s %s: another call for it is under way", name, id)
	}
	w.busy[id] = true
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.busy, id)
		w.mu.Unlock()
	}()
	return s.effect(name, id, do)
}

func (w *World) breaks(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

// Broken returns the promises that the control plane has broken.
func (w *World) Broken() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.broken)
}

// Fail makes all calls of the name fail, until err is nil: "driver.List",
// "runtime.Start", "engine.Claim" and so on.
func (w *World) Fail(name string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down[name] = err
}

// OnCall has do called before each call of the name.
func (w *World) OnCall(name string, do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before[name] = do
}

// Calls returns how often each call was made since the last time.
func (w *World) Calls() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.calls = map[string]int{} }()
	return w.calls
}

// SetFree sets the free space of the pool.
func (w *World) SetFree(bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.free = bytes
}

// SetForeign makes a dataset of somebody else's, or changes its content.
func (w *World) SetForeign(dataset, content string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.foreign[dataset] = content
}

// Crash ends an instance's process, if it is there.
func (w *World) Crash(id string, code int, oom bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := w.instances[id]; i != nil {
		i.state, i.exit, i.oom = container.Exited, code, oom
		w.tell(id)
	}
}

// MemoryLimit is what an instance may use, in bytes; 0 for no limit.
func (w *World) MemoryLimit(id string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.instances[id].spec.Limits.MemoryBytes
}

// Restart ends every process, as a restart of the host does.
func (w *World) Restart() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, i := range w.instances {
		i.state, i.exit = container.Exited, 255
	}
}

// Take removes an instance, and its volume if withVolume, behind the daemon's
// back. putBack puts the volume back.
func (w *World) Take(id string, withVolume bool) (putBack func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.instances, id)
	v := w.volumes[id]
	if withVolume {
		delete(w.volumes, id)
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.volumes[id] = v
	}
}

// TakeSnapshot removes a golden's snapshot behind the daemon's back, until it is
// put back.
func (w *World) TakeSnapshot(id string) (putBack func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ref := storage.SnapshotRef{Source: storage.Own("g-" + id), ID: "ready"}
	content := w.snapshots[ref]
	delete(w.snapshots, ref)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.snapshots[ref] = content
	}
}

// Plant adds a volume that nobody asked for.
func (w *World) Plant(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.volumes[id] = &volume{content: "planted"}
}

// PlantInstance adds an instance that nobody asked for.
func (w *World) PlantInstance(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.instances[id] = &instance{state: container.Running}
}

// PlantSnapshot adds a snapshot that nobody asked for, of a volume that is there.
func (w *World) PlantSnapshot(volume, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.snapshots[storage.SnapshotRef{Source: storage.Own(volume), ID: id}] = "planted"
}

// tell reports an event. The lock is held.
func (w *World) tell(id string) {
	for l := range w.listeners {
		select {
		case l <- container.Event{ID: id}:
		default: // as the contract says, some may be lost
		}
	}
}

// Write changes what is in a volume.
func (w *World) Write(id, content string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.volumes[id].content = content
}

// Read is what a user who connects to the port with the password reads.
func (w *World) Read(port int, password secret.Text) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, i := range w.instances {
		if i.state == container.Running && !i.task && i.spec.PublishPort == port {
			v := w.volumes[volumeAt(i.spec.Volume)]
			if v.password != password.Reveal() {
				return "", fmt.Errorf("%s: wrong password", id)
			}
			return v.content, nil
		}
	}
	return "", fmt.Errorf("nothing listens on port %d", port)
}

// Content is what is in a volume or a snapshot, named as by Things: "c-y-1",
// "g-x@ready"; "" if there is none.
func (w *World) Content(name string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if v := w.volumes[name]; v != nil {
		return v.content
	}
	for ref, content := range w.snapshots {
		if ref.Source.Volume+ref.Source.Foreign+"@"+ref.ID == name {
			return content
		}
	}
	return ""
}

// Running returns the IDs of the instances that run, sorted.
func (w *World) Running() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for id, i := range w.instances {
		if i.state == container.Running && !i.task {
			out = append(out, id)
		}
	}
	sort.Strings(out)
	return out
}

// Things returns all there is, sorted, for comparison: "volume g-x",
// "snapshot g-x@ready", "instance c-y-1" or "instance c-y-1, frozen".
func (w *World) Things() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for id := range maps.Keys(w.volumes) {
		out = append(out, "volume "+id)
	}
	for ref := range maps.Keys(w.snapshots) {
		out = append(out, "snapshot "+ref.Source.Volume+ref.Source.Foreign+"@"+ref.ID)
	}
	for id, i := range w.instances {
		name := "instance " + id
		if i.state == container.Frozen {
			name += ", frozen"
		}
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}

func pathOf(volume string) string { return "/fake/" + volume }

func volumeAt(path string) string { return strings.TrimPrefix(path, "/fake/") }
