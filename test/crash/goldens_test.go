package crash

import (
	"fmt"
	"time"

	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// golden makes a golden "new".
func golden(source func(*world) *clonedv1.Source) func(*world) error {
	return func(w *world) error { return unless(w.createGolden("new", source(w)), errs.Exists) }
}

func directory(w *world) *clonedv1.Source {
	return &clonedv1.Source{Kind: &clonedv1.Source_Directory{Directory: &clonedv1.DirectorySource{Path: tiny(w.t)}}}
}

func inPlace(w *world) *clonedv1.Source {
	return &clonedv1.Source{Kind: &clonedv1.Source_InPlace{InPlace: &clonedv1.InPlaceSource{Dataset: w.foreign}}}
}

func fromMain(*world) *clonedv1.Source {
	return &clonedv1.Source{Kind: &clonedv1.Source_Clone{Clone: &clonedv1.CloneSource{Name: "main"}}}
}

// fromGolden proves that the golden "new" is whole, by a clone of it.
func fromGolden(w *world) error { return fromGoldenSays("golden")(w) }

func fromGoldenSays(want string) func(*world) error {
	return func(w *world) error {
		if err := w.create(&clonedv1.CreateCloneRequest{Name: "proof", Golden: "new"}); err != nil {
			return err
		}
		if err := w.reads(w.get("proof"), want); err != nil {
			return err
		}
		return remove("proof", true)(w)
	}
}

func deleteGolden(w *world) error {
	_, err := w.Goldens.DeleteGolden(w.ctx, &clonedv1.DeleteGoldenRequest{Name: "new"})
	return unless(err, errs.NotFound)
}

// snapshots returns an error unless the golden has n of them, or one more: that
// of a refresh whose success was not answered.
func snapshots(golden string, n int) func(*world) error {
	return func(w *world) error {
		if have := w.snapshotsOf(golden); len(have) < n || len(have) > n+1 {
			return fmt.Errorf("golden %s has the snapshots %v", golden, have)
		}
		return nil
	}
}

func deleteSnapshot(w *world) error {
	all := w.snapshotsOf("shop")
	if len(all) == 1 {
		return nil
	}
	_, err := w.Goldens.DeleteSnapshot(w.ctx, &clonedv1.DeleteSnapshotRequest{Id: all[0]})
	return unless(err, errs.NotFound)
}

// snapshot takes a snapshot "v1" of the clone.
func snapshot(w *world) error {
	_, err := w.Clones.SnapshotClone(w.ctx, &clonedv1.SnapshotCloneRequest{Name: "main", Snapshot: "v1"})
	return unless(err, errs.Exists)
}

// deleteOwn deletes it.
func deleteOwn(w *world) error {
	resp, err := w.Clones.GetLineage(w.ctx, &clonedv1.GetLineageRequest{Name: "main"})
	if err != nil {
		return err
	}
	for _, s := range resp.GetSnapshots() {
		if s.GetName() == "v1" {
			_, err = w.Goldens.DeleteSnapshot(w.ctx, &clonedv1.DeleteSnapshotRequest{Id: s.GetId()})
		}
	}
	return unless(err, errs.NotFound)
}

// refreshThatDies kills the daemon while a task of a refresh runs that has come
// to the point, and waits for the next daemon to have removed it.
func refreshThatDies(point string) func(*world) error {
	return func(w *world) error {
		if w.died {
			return w.eventually(w.noTasks)
		}
		ended := make(chan error, 1)
		go func() { ended <- w.refresh("shop") }()
		for deadline := time.Now().Add(within); !w.isAt(point) || w.noTasks() == nil; {
			select {
			case err := <-ended:
				return fmt.Errorf("the refresh ended before its task was seen: %w", err)
			default:
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("no task was seen")
			}
		}
		w.died = true
		w.Kill()
		<-ended
		w.again()
		return w.eventually(w.noTasks)
	}
}

func (w *world) noTasks() error {
	if left := w.tasks(); len(left) > 0 {
		return errs.New(errs.Unavailable, "TEST", "the tasks %v are left", left)
	}
	return nil
}
