package crash

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// operation is something that is broken at each of its steps.
type operation struct {
	name string
	// zfs: it is one of those that are broken in the ZFS test machine too.
	zfs bool
	// prepare makes what it needs; nil for nothing.
	prepare func(*world) error
	// do is what a client asks for, again and again until it is answered.
	do func(*world) error
	// done returns an error unless it has been done, wholly.
	done func(*world) error
	// only, if set, are the steps to break: the others are broken in "refresh", as
	// they are there, and goldens take long.
	only []string
}

// What clones say besides "golden" and "kept".
const mine, changed, theirs = "mine", "changed", "theirs"

// may is what a clone may say while an operation on it is not over.
var may = []string{"golden", mine, changed, theirs}

func operations() []operation {
	main := steps(create("main"), write("main", mine))
	suspended := steps(main, suspend)
	return append(branching(main), []operation{
		{"create", true, nil, create("main"), says("main", "golden"), nil},
		{"reset", true, main, reset(&clonedv1.ResetCloneRequest{Now: true}), says("main", "golden"), nil},
		{"reset, kept", false, main, reset(&clonedv1.ResetCloneRequest{}), says("main", "golden"), nil},
		{"reset of a suspended clone", false, suspended, reset(&clonedv1.ResetCloneRequest{}), isSuspended, nil},
		{"delete", true, main, remove("main", true), gone("main"), nil},
		{"delete, kept", false, main, remove("main", false), gone("main"), nil},
		{"suspend", false, main, suspend, isSuspended, nil},
		{"resume", false, suspended, resume, says("main", mine), nil},
		{"undo of a reset", false, steps(main, reset(&clonedv1.ResetCloneRequest{})), undo(1), says("main", mine), nil},
		{"undo of a delete", false, steps(main, remove("main", false)), undo(1), says("main", mine), nil},
		{"end of a lease", false, main, endOfLease, gone("main"), nil},
		{"restart of a database", false, main, restart, says("main", mine), nil},
		{"refresh", true, nil, func(w *world) error { return w.refresh("shop") }, steps(create("main"), says("main", "golden"), snapshots("shop", 2)), nil},
		{"refresh that dies", false, nil, refreshThatDies("golden.prepare.before"), snapshots("shop", 1), []string{"task.list", "task.remove", "snapshot.destroy", "volume.destroy", "commit.outcome"}},
		{"probe that dies", false, nil, refreshThatDies("golden.probe.before"), snapshots("shop", 1), []string{"instance.remove"}},
		{"create golden", false, nil, golden(directory), fromGolden, []string{"commit.request", "golden.prepare", "commit.outcome"}},
		{"create golden in place", false, nil, golden(inPlace), steps(fromGolden, foreignSnapshots(1)), []string{"commit.request", "foreign.snapshot", "volume.clone", "commit.outcome"}},
		{"delete golden in place", false, golden(inPlace), deleteGolden, foreignSnapshots(0), nil},
		{"delete snapshot", false, func(w *world) error { return w.refresh("shop") }, deleteSnapshot, snapshots("shop", 1), nil},
		{"pass", false, main, passes, says("main", mine), nil},
	}...)
}

// branching are the operations on snapshots of clones.
func branching(main func(*world) error) []operation {
	taken := steps(main, snapshot, write("main", changed))
	fork := func(w *world) error { return w.create(&clonedv1.CreateCloneRequest{Name: "fork", From: "main"}) }
	return []operation{
		{"snapshot", false, main, snapshot, says("main", mine), nil},
		{"delete a snapshot of a clone", false, taken, deleteOwn, says("main", changed), nil},
		{"reset to a snapshot", false, taken, reset(&clonedv1.ResetCloneRequest{To: &clonedv1.ResetCloneRequest_Snapshot{Snapshot: "v1"}}), says("main", mine), nil},
		{"fork", false, main, fork, steps(says("main", mine), says("fork", mine)), nil},
		{"take over", false, steps(main, create("other"), write("other", theirs)),
			reset(&clonedv1.ResetCloneRequest{To: &clonedv1.ResetCloneRequest_Clone{Clone: "other"}}), says("main", theirs), nil},
		{"publish", false, main, golden(fromMain), func(w *world) error {
			return errors.Join(fromGoldenSays(mine)(w), w.reads(w.get("main"), mine))
		}, []string{"commit.request", "snapshot.create", "volume.clone", "commit.outcome"}},
		{"changes", false, main, func(w *world) error {
			resp, err := w.Clones.GetChanges(w.ctx, &clonedv1.GetChangesRequest{Name: "main"})
			if err != nil {
				return err
			}
			for _, r := range resp.GetRelations() {
				if r.GetName() == "public.mark" || r.GetName() == "mark" {
					return nil
				}
			}
			return fmt.Errorf("changes: %v", resp.GetRelations())
		}, says("main", mine), nil},
	}
}

// steps does one after the other.
func steps(all ...func(*world) error) func(*world) error {
	return func(w *world) error {
		for _, step := range all {
			if err := step(w); err != nil {
				return err
			}
		}
		return nil
	}
}

func create(name string) func(*world) error {
	return func(w *world) error { return w.create(&clonedv1.CreateCloneRequest{Name: name, Golden: "shop"}) }
}

func write(name, says string) func(*world) error {
	return func(w *world) error { return w.write(name, says) }
}

func says(name, want string) func(*world) error {
	return func(w *world) error { return w.reads(w.get(name), want) }
}

func gone(name string) func(*world) error {
	return func(w *world) error { return w.isGone(name) }
}

func reset(req *clonedv1.ResetCloneRequest) func(*world) error {
	req.Name = "main"
	return func(w *world) error {
		_, err := w.Clones.ResetClone(w.ctx, req)
		return err
	}
}

func suspend(w *world) error {
	_, err := w.Clones.SuspendClone(w.ctx, &clonedv1.SuspendCloneRequest{Name: "main"})
	return err
}

func resume(w *world) error {
	_, err := w.Clones.ResumeClone(w.ctx, &clonedv1.ResumeCloneRequest{Name: "main"})
	return err
}

func isSuspended(w *world) error {
	if state := w.get("main").GetState(); state != clonedv1.CloneState_CLONE_STATE_SUSPENDED {
		return fmt.Errorf("it is %v", state)
	}
	return nil
}

func remove(name string, now bool) func(*world) error {
	return func(w *world) error {
		_, err := w.Clones.DeleteClone(w.ctx, &clonedv1.DeleteCloneRequest{Name: name, Now: now})
		return unless(err, errs.NotFound)
	}
}

// unless makes an error of the kind a success: a client that was not answered
// finds that its first request did the work.
func unless(err error, kind errs.Kind) error {
	if errs.Is(err, kind) {
		return nil
	}
	return err
}

func undo(generation int64) func(*world) error {
	return func(w *world) error {
		_, err := w.Clones.UndoClone(w.ctx, &clonedv1.UndoCloneRequest{Name: "main", Generation: generation})
		return err
	}
}

// endOfLease lets the clone expire.
func endOfLease(w *world) error {
	_, err := w.Clones.UpdateClone(w.ctx, &clonedv1.UpdateCloneRequest{
		Name: "main", Ttl: durationpb.New(time.Second), UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"ttl"}},
	})
	if err = unless(err, errs.NotFound); err != nil {
		return err
	}
	return w.eventually(func() error { return w.isGone("main") })
}

// restart kills the clone's database, and waits for it to be back.
func restart(w *world) error {
	before := w.get("main")
	if before.GetRestarts() == 0 && before.GetState() == clonedv1.CloneState_CLONE_STATE_READY {
		if err := syscall.Kill(w.PostmasterPID(w.Show("main")), syscall.SIGKILL); err != nil {
			return err
		}
	}
	return w.eventually(func() error {
		resp, err := w.Clones.GetClone(w.ctx, &clonedv1.GetCloneRequest{Name: "main"})
		if c := resp.GetClone(); err == nil && (c.GetRestarts() == 0 || c.GetState() != clonedv1.CloneState_CLONE_STATE_READY) {
			err = fmt.Errorf("it is %v after %d restarts", c.GetState(), c.GetRestarts())
		}
		return err
	})
}

// passes waits for two passes.
func passes(w *world) error {
	return w.eventually(func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := count(w.reached, "pass.observe.after"); n < 2 {
			return fmt.Errorf("%d passes", n)
		}
		return nil
	})
}
