package state_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

func open(t testing.TB, path string) *state.Store {
	t.Helper()
	s, err := state.Open(path, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func put(t testing.TB, s *state.Store, clones ...*state.Clone) {
	t.Helper()
	err := s.Update(func(tx *state.Tx) error {
		for _, c := range clones {
			tx.PutClone(c)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestReopen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	now := time.Now().Round(0).UTC()
	c := &state.Clone{
		ID: "x", Name: "main", Golden: "shop", Labels: map[string]string{"a": "b"}, Trash: []int64{1},
		Created: now, Timings: []state.Timing{{Phase: "volume", Took: time.Millisecond}}, State: state.CloneReady,
	}
	gone := &state.Clone{ID: "y", Name: "gone", State: state.CloneDeleting}
	put(t, s, c, gone)
	err := s.Update(func(tx *state.Tx) error {
		tx.PutGolden(&state.Golden{Name: "shop", Options: state.GoldenOptions{Settings: map[string]string{"k": "v"}}})
		tx.PutSnapshot(&state.Snapshot{ID: "s", Golden: "shop", Databases: []string{"d"}})
		tx.DropClone("y")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	before := s.View()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	after := open(t, path).View()
	if before.Revision() != 5 || after.Revision() != before.Revision() {
		t.Errorf("revision %d, then %d", before.Revision(), after.Revision())
	}
	for what, read := range map[string]func(*state.View) any{
		"clone":    func(v *state.View) any { c, _ := v.CloneNamed("main"); return c },
		"golden":   func(v *state.View) any { g, _ := v.Golden("shop"); return g },
		"snapshot": func(v *state.View) any { return v.Snapshots("shop") },
		"events":   func(v *state.View) any { e, _ := v.EventsAfter(0, 10); return e },
		"gone":     func(v *state.View) any { _, ok := v.Clone("y"); return ok },
	} {
		if b, a := read(before), read(after); !reflect.DeepEqual(b, a) {
			t.Errorf("%s: %+v, then %+v", what, b, a)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := s.Update(func(*state.Tx) error { return nil }); !errs.Is(err, errs.Unavailable) {
		t.Errorf("update after close: %v", err)
	}
}

// TestAllOrNothing: what a failed change has written is not to be seen, and
// what others did at the same time is.
func TestAllOrNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	failure := errors.New("no")
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			err := s.Update(func(tx *state.Tx) error {
				name := fmt.Sprint("n", i)
				tx.PutClone(&state.Clone{ID: name, Name: name, State: state.CloneReady})
				if c, ok := tx.CloneNamed(name); !ok || c.Revision == 0 {
					t.Error("a change does not see itself")
				}
				if i%2 == 1 {
					return failure
				}
				return nil
			})
			if (err != nil) != (i%2 == 1) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	wg.Wait()
	check := func(v *state.View) {
		t.Helper()
		if n := v.CloneCount(); n != 32 || v.Revision() != 32 {
			t.Errorf("%d clones at revision %d", n, v.Revision())
		}
		for c := range v.Clones() {
			var i int
			if _, err := fmt.Sscanf(c.ID, "n%d", &i); err != nil || i%2 == 1 {
				t.Errorf("%s is there", c.ID)
			}
		}
	}
	check(s.View())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(open(t, path).View())
}

// TestUpdateSoon: what is changed before it is on disk is to be seen at once, comes
// in order with all else, and is taken back if it can't be written.
func TestUpdateSoon(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	soon := func(id string, n int) (<-chan error, error) {
		return s.UpdateSoon(func(tx *state.Tx) error {
			c, _ := tx.Clone("x")
			if c.Port++; c.Port != n {
				t.Errorf("change %d comes after %d others", n, c.Port-1)
			}
			c.ID, c.Name = id, id
			tx.PutClone(&c)
			return nil
		})
	}
	for n := 1; n < 40; n += 2 {
		written, err := soon("x", n)
		if err != nil {
			t.Fatal(err)
		}
		c, _ := s.View().Clone("x")
		if c.Port != n {
			t.Fatalf("after change %d: %d", n, c.Port)
		}
		c.Port++
		put(t, s, &c)
		if err := <-written; err != nil {
			t.Error(err)
		}
	}
	failure := errors.New("no")
	if _, err := s.UpdateSoon(func(*state.Tx) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("a change that fails: %v", err)
	}
	written, err := soon("", 41)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-written; !errs.Is(err, errs.Unavailable) { // bbolt takes no empty key
		t.Errorf("a change that can't be written: %v", err)
	}
	put(t, s, &state.Clone{ID: "y", Name: "y", State: state.CloneReady}) // after that
	check := func(v *state.View) {
		t.Helper()
		if c, _ := v.Clone("x"); c.Port != 40 || v.CloneCount() != 2 {
			t.Errorf("%+v, and %d clones", c, v.CloneCount())
		}
	}
	check(s.View())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(open(t, path).View())
}

func TestNamesAreUnique(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	first := &state.Clone{ID: "1", Name: "main", State: state.CloneReady}
	put(t, s, first)
	second := &state.Clone{ID: "2", Name: "main", State: state.CloneReady}
	err := s.Update(func(tx *state.Tx) error { tx.PutClone(second); return nil })
	if !errs.Is(err, errs.Exists) {
		t.Errorf("two of a name: %v", err)
	}
	first.State = state.CloneDeleting
	put(t, s, first, second)
	if c, _ := s.View().CloneNamed("main"); c.ID != "2" || s.View().CloneCount() != 1 {
		t.Errorf("the name is of %q", c.ID)
	}
	put(t, s, first) // the deleted one does not take it back
	if c, _ := s.View().CloneNamed("main"); c.ID != "2" {
		t.Errorf("the name is of %q", c.ID)
	}
}

func TestViewsStay(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	c := &state.Clone{ID: "1", Name: "main", State: state.CloneReady, Labels: map[string]string{"k": "old"}}
	put(t, s, c)
	old := s.View()
	c.Labels["k"] = "mine" // the store has its own
	read, _ := old.Clone("1")
	read.Labels["k"] = "mine too"
	c2 := read
	c2.Labels = map[string]string{"k": "new"}
	put(t, s, &c2)
	if c, _ := old.Clone("1"); c.Labels["k"] != "old" {
		t.Errorf("the old view reads %q", c.Labels["k"])
	}
	if c, _ := s.View().Clone("1"); c.Labels["k"] != "new" {
		t.Errorf("the new view reads %q", c.Labels["k"])
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	c := &state.Clone{ID: "1", Name: "main", State: state.CloneReady}
	changed := s.Changed()
	put(t, s, c)
	<-changed
	c.State = state.CloneDeleting
	put(t, s, c)
	put(t, s, c) // of no interest to users
	events, complete := s.View().EventsAfter(1, 10)
	if !complete || len(events) != 1 || !events[0].Deleted || events[0].Revision != 2 {
		t.Errorf("events %+v, complete %v", events, complete)
	}
	if _, complete := s.View().EventsAfter(4, 10); complete {
		t.Error("the future is complete")
	}
	c.State = state.CloneReady
	err := s.Update(func(tx *state.Tx) error {
		for range 5000 {
			tx.PutClone(c)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, complete := s.View().EventsAfter(2, 10); complete {
		t.Error("what is no longer kept is complete")
	}
	if events, complete := s.View().EventsAfter(s.View().Revision()-3, 10); !complete || len(events) != 3 {
		t.Errorf("the last events: %d, complete %v", len(events), complete)
	}
}

func TestNewestSnapshot(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	at := time.Now()
	newest := func(want string) {
		t.Helper()
		if got, _ := s.View().NewestSnapshot("shop"); got.ID != want {
			t.Errorf("the newest is %q, want %q", got.ID, want)
		}
	}
	change := func(fn func(*state.Tx)) {
		t.Helper()
		if err := s.Update(func(tx *state.Tx) error { fn(tx); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	newest("")
	for i, id := range []string{"b", "a", "c"} {
		change(func(tx *state.Tx) {
			tx.PutSnapshot(&state.Snapshot{ID: id, Golden: "shop", State: state.SnapshotReady, Created: at.Add(time.Duration(i))})
		})
		newest(id)
	}
	change(func(tx *state.Tx) {
		tx.PutSnapshot(&state.Snapshot{ID: "d", Golden: "shop", State: state.SnapshotPreparing})
	})
	newest("c")
	change(func(tx *state.Tx) { tx.DropSnapshot("c") })
	newest("a")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	newest("a")
}

func TestTwoOpeners(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.db")
	open(t, path)
	_, err := state.Open(path, state.Options{Timeout: 10 * time.Millisecond})
	if errs.As(err).Reason != "STATE_IN_USE" || errs.As(err).Hint == "" {
		t.Errorf("second: %v", err)
	}
}

func TestNewerVersion(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("version"), []byte("99")) })
	_, err := state.Open(path, state.Options{})
	if e := errs.As(err); e.Kind != errs.Precondition || e.Reason != "STATE_NEWER" ||
		!strings.Contains(e.Message, "version 99") || !strings.Contains(e.Message, fmt.Sprint("up to ", state.Version)) || !strings.Contains(e.Hint, "newer cloned") {
		t.Errorf("open: %v", err)
	}
}

// TestVersion1: a state from before there were tokens is brought up to date.
func TestVersion1(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	put(t, s, &state.Clone{ID: "x", Name: "main", State: state.CloneReady})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bbolt.Tx) error {
		return errors.Join(tx.DeleteBucket([]byte("tokens")), tx.Bucket([]byte("meta")).Put([]byte("version"), []byte("1")))
	})
	s = open(t, path)
	if c, ok := s.View().CloneNamed("main"); !ok || c.Principal != "" || len(s.View().Tokens()) != 0 {
		t.Errorf("got %+v, tokens %v", c, s.View().Tokens())
	}
	if err := s.Update(func(tx *state.Tx) error { tx.PutToken(&state.Token{ID: "t", Name: "ci"}); return nil }); err != nil {
		t.Fatal(err)
	}
}

// TestTokens: a token is there, after a reopening too, until it is dropped, and
// what is read is the reader's own.
func TestTokens(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	want := state.Token{
		ID: "t", Name: "ci", Hash: []byte{1, 2}, Role: "user", Goldens: []string{"shop"},
		Limits: state.Limits{Clones: 3, MaxTTL: time.Hour}, Created: time.Now().Round(0).UTC(), CreatedBy: "unix:root",
	}
	if err := s.Update(func(tx *state.Tx) error { tx.PutToken(&want); return nil }); err != nil || want.Revision == 0 {
		t.Fatalf("revision %d: %v", want.Revision, err)
	}
	read, _ := s.View().Token("t")
	read.Hash[0], read.Goldens[0] = 9, "other"
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, path)
	for name, v := range map[string]*state.View{"before": s.View(), "after": again.View()} {
		if got, ok := v.Token("t"); !ok || !reflect.DeepEqual(got, want) || len(v.Tokens()) != 1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if err := again.Update(func(tx *state.Tx) error { tx.DropToken("t"); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, ok := again.View().Token("t"); ok {
		t.Error("it is there after its drop")
	}
}

func edit(t *testing.T, path string, do func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(do), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkUpdate(b *testing.B) {
	for _, clones := range []int{0, 500} {
		b.Run(fmt.Sprint(clones), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "state.db"))
			for i := range clones {
				put(b, s, &state.Clone{ID: fmt.Sprint("i", i), Name: fmt.Sprint("n", i), State: state.CloneReady})
			}
			c := &state.Clone{ID: "x", Name: "main", State: state.CloneReady}
			for b.Loop() {
				put(b, s, c)
			}
		})
	}
}

// TestCopy copies a state while it changes: each copy opens, and holds the changes
// up to some moment.
func TestCopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "state.db"))
	done := make(chan struct{})
	t.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		for i := range 200 {
			put(t, s, &state.Clone{ID: fmt.Sprint("id", i), Name: fmt.Sprint("name", i), State: state.CloneReady})
		}
	}()
	for i, last := 0, false; !last; i++ {
		select {
		case <-done:
			last = true
		default:
		}
		before := s.View().CloneCount()
		raw, err := s.Copy()
		after := s.View().CloneCount()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, fmt.Sprint("copy", i))
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(state.Check(path), s.Check()); err != nil {
			t.Fatal(err)
		}
		if n := open(t, path).View().CloneCount(); n < before || n > after+1 {
			t.Fatalf("the copy has %d clones; there were %d before and %d after", n, before, after)
		}
	}
}
