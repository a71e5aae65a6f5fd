package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
	"github.com/cloned-db/cloned/test/harness"
)

// world is a daemon with a golden "shop", whose one row says "golden", and a
// clone of it, the bystander, whose row says "kept".
type world struct {
	*harness.Env
	*faults
	*client.Client
	t testing.TB // of the present case

	ctx       context.Context
	urls      map[string]string // of clones, by ID and port: to ask takes a look at their volumes
	golden    string            // ID of the golden's first snapshot
	bystander *clonedv1.Clone
	// foreign is a dataset of somebody else's with the same data, for goldens in
	// place; "" where there are none.
	foreign string
	// broken: a case failed and could not be cleaned up after.
	broken bool
	died   bool // the present case has killed the daemon itself
}

// within bounds how long anything of one case may take.
const within = 60 * time.Second

func newWorld(t testing.TB, driver, runtime string) *world {
	t.Helper()
	faults := listen(t) // until the daemon has ended
	w := &world{Env: harness.New(t, driver, runtime, "undo=1h"), faults: faults, t: t, ctx: context.Background(), urls: map[string]string{}}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w.Daemon, w.DaemonEnv = self, []string{daemonVariable + "=" + w.socket}
	w.Start()
	if w.Client, err = client.Dial(t.Context(), "unix://"+w.Socket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.must(w.DeleteAll())
		w.Ctl("unprotect", "bystander")
		w.Ctl("rm", "--now", "bystander")
		w.Client.Close()
	})
	w.must(w.createGolden("shop", &clonedv1.Source{Kind: &clonedv1.Source_Directory{Directory: &clonedv1.DirectorySource{Path: tiny(t)}}}))
	w.golden = w.snapshotsOf("shop")[0]
	w.must(w.create(&clonedv1.CreateCloneRequest{Name: "bystander", Golden: "shop", Protect: true}))
	w.must(w.write("bystander", "kept"))
	w.bystander = w.get("bystander")
	if driver != "dir" {
		var mount string
		w.foreign, mount = w.ForeignDataset("replica")
		w.Copy(tiny(t), mount)
		t.Cleanup(func() { w.RemoveForeign(w.foreign) })
	}
	return w
}

// tiny is a stopped data directory with next to nothing in it.
func tiny(t testing.TB) string {
	t.Helper()
	return harness.SharedDirectory(t, "tiny", func(s *harness.Server) {
		s.Exec("postgres", "CREATE DATABASE shop")
		s.Exec("shop", "CREATE TABLE mark AS SELECT 'golden'::text AS says")
	})
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// eventually calls is until it returns nil, or the daemon is killed.
func (w *world) eventually(is func() error) error {
	deadline := time.Now().Add(within)
	for {
		err := is()
		switch {
		case err == nil:
			return nil
		case w.Ended():
			return errs.New(errs.Unavailable, "TEST", "the daemon has died: %w", err)
		case time.Now().After(deadline):
			return err
		}
		time.Sleep(20 * time.Millisecond) // an interval of looking, not of waiting for something
	}
}

func (w *world) get(name string) *clonedv1.Clone {
	w.t.Helper()
	resp, err := w.Clones.GetClone(w.ctx, &clonedv1.GetCloneRequest{Name: name})
	w.must(err)
	return resp.GetClone()
}

func (w *world) create(req *clonedv1.CreateCloneRequest) error {
	_, err := w.Clones.CreateClone(w.ctx, req)
	return err
}

func (w *world) createGolden(name string, source *clonedv1.Source) error {
	stream, err := w.Goldens.CreateGolden(w.ctx, &clonedv1.CreateGoldenRequest{Name: name, Source: source})
	for err == nil {
		_, err = stream.Recv()
	}
	return unlessEOF(err)
}

func (w *world) refresh(name string) error {
	stream, err := w.Goldens.RefreshGolden(w.ctx, &clonedv1.RefreshGoldenRequest{Name: name})
	for err == nil {
		_, err = stream.Recv()
	}
	return unlessEOF(err)
}

func unlessEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// snapshotsOf lists the IDs of a golden's snapshots, newest first.
func (w *world) snapshotsOf(golden string) (ids []string) {
	w.t.Helper()
	resp, err := w.Goldens.ListSnapshots(w.ctx, &clonedv1.ListSnapshotsRequest{Golden: golden})
	w.must(err)
	for _, s := range resp.GetSnapshots() {
		ids = append(ids, s.GetId())
	}
	return ids
}

// connect calls do with a connection to a clone.
func (w *world) connect(c *clonedv1.Clone, do func(*pgx.Conn) error) error {
	key := fmt.Sprint(c.GetId(), c.GetEndpoint().GetPort())
	if w.urls[key] == "" {
		w.urls[key] = w.get(c.GetName()).GetEndpoint().GetUrl()
	}
	ctx, cancel := context.WithTimeout(w.ctx, within)
	defer cancel()
	conn, err := pgx.Connect(ctx, w.urls[key])
	if err != nil {
		return err
	}
	return errors.Join(do(conn), conn.Close(ctx))
}

// write is what a user of a clone does.
func (w *world) write(name, says string) error {
	return w.connect(w.get(name), func(conn *pgx.Conn) error {
		_, err := conn.Exec(w.ctx, "UPDATE mark SET says = $1", says)
		return err
	})
}

// reads returns an error unless a user of the clone reads one of these.
func (w *world) reads(c *clonedv1.Clone, want ...string) error {
	var says string
	err := w.connect(c, func(conn *pgx.Conn) error {
		return conn.QueryRow(w.ctx, "SELECT says FROM mark").Scan(&says)
	})
	if err == nil && !slices.Contains(want, says) {
		err = fmt.Errorf("clone %s says %q, not one of %q", c.GetName(), says, want)
	}
	return err
}

// isGone returns an error while there is a clone of the name.
func (w *world) isGone(name string) error {
	resp, err := w.Clones.GetClone(w.ctx, &clonedv1.GetCloneRequest{Name: name})
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return fmt.Errorf("clone %s is %v: %w", name, resp.GetClone().GetState(), err)
}

// clones lists those there are; deleted those that are kept.
func (w *world) clones(deleted bool) ([]*clonedv1.Clone, error) {
	filter := &clonedv1.CloneFilter{}
	if deleted {
		filter.State = clonedv1.CloneState_CLONE_STATE_DELETING
	}
	resp, err := w.Clones.ListClones(w.ctx, &clonedv1.ListClonesRequest{Filter: filter})
	return resp.GetClones(), err
}

// settled returns an error while clones are not whole, something is left over, or
// the bystander is not as it was. What they may read, may says.
func (w *world) settled(may []string) error {
	clones, err := w.clones(false)
	if err != nil {
		return err
	}
	for _, c := range clones {
		switch state := c.GetState(); state {
		case clonedv1.CloneState_CLONE_STATE_READY:
			if c.GetName() == "bystander" {
				err = w.untouched(c)
			} else {
				err = w.reads(c, may...)
			}
		case clonedv1.CloneState_CLONE_STATE_SUSPENDED:
		default:
			err = fmt.Errorf("clone %s is %v: %s", c.GetName(), state, c.GetMessage())
		}
		if err != nil {
			return err
		}
	}
	return w.NothingLeft()
}

func (w *world) untouched(c *clonedv1.Clone) error {
	was := w.bystander
	if c.GetGeneration() != was.GetGeneration() || c.GetRestarts() != 0 || c.GetRevision() != was.GetRevision() {
		return fmt.Errorf("the bystander was %v and is %v", was, c)
	}
	return w.reads(c, "kept")
}

// DeleteAll deletes everything but the golden with its first snapshot, and the
// bystander.
func (w *world) DeleteAll() error {
	for _, deleted := range []bool{false, true} {
		clones, err := w.clones(deleted)
		if err != nil {
			return err
		}
		for _, c := range clones {
			if c.GetName() == "bystander" {
				continue
			}
			_, err := w.Clones.DeleteClone(w.ctx, &clonedv1.DeleteCloneRequest{Name: c.GetName(), Now: true})
			if err != nil && !errs.Is(err, errs.NotFound) {
				return err
			}
		}
	}
	goldens, err := w.Goldens.ListGoldens(w.ctx, &clonedv1.ListGoldensRequest{})
	if err != nil {
		return err
	}
	for _, g := range goldens.GetGoldens() {
		if g.GetName() == "shop" {
			continue
		}
		if _, err := w.Goldens.DeleteGolden(w.ctx, &clonedv1.DeleteGoldenRequest{Name: g.GetName()}); err != nil {
			return err
		}
	}
	for _, id := range w.snapshotsOf("shop") {
		if id == w.golden {
			continue
		}
		if _, err := w.Goldens.DeleteSnapshot(w.ctx, &clonedv1.DeleteSnapshotRequest{Id: id}); err != nil {
			return err
		}
	}
	return nil
}

// tasks lists the instances that are no clone's.
func (w *world) tasks() []string {
	return slices.DeleteFunc(w.Instances(), func(id string) bool { return strings.HasPrefix(id, "c-") })
}

// foreignSnapshots waits for there to be n snapshots in the foreign dataset.
func foreignSnapshots(n int) func(*world) error {
	return func(w *world) error {
		return w.eventually(func() error {
			if have := w.ForeignSnapshots(w.foreign); len(have) != n {
				return fmt.Errorf("the foreign dataset has the snapshots %v", have)
			}
			return nil
		})
	}
}

// again starts a daemon that has died, and may die again, unless that was done.
func (w *world) again() {
	w.t.Helper()
	w.mu.Lock()
	victim := w.victim
	w.mu.Unlock()
	if !w.Ended() && w.PID() != victim {
		return
	}
	var err error
	for range 3 {
		w.AwaitEnd()
		if err = w.TryStart(); err == nil {
			return
		}
	}
	w.t.Fatalf("it does not start again: %v\n%s", err, w.LogTail(40))
}
