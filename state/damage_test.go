package state_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
)

// records is all that a view holds.
type records struct {
	goldens   []state.Golden
	snapshots []state.Snapshot
	clones    []state.Clone
	events    []state.Event
	tokens    []state.Token
}

func recordsOf(v *state.View) (r records) {
	r.goldens, r.snapshots, r.tokens = v.Goldens(), v.Snapshots(""), v.Tokens()
	for c := range v.Clones() {
		r.clones = append(r.clones, c)
	}
	r.events, _ = v.EventsAfter(0, 1<<20)
	return r
}

// fill writes a state of so many clones in several changes, so that there are
// free pages, branches and leaves.
func fill(t testing.TB, path string, clones int) records {
	t.Helper()
	s := open(t, path)
	change := func(fn func(*state.Tx)) {
		t.Helper()
		if err := s.Update(func(tx *state.Tx) error { fn(tx); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().Round(0).UTC()
	for g := range 3 {
		change(func(tx *state.Tx) {
			name := fmt.Sprint("golden", g)
			tx.PutGolden(&state.Golden{Name: name, Created: now, Options: state.GoldenOptions{Settings: map[string]string{"work_mem": "4MB"}}})
			for i := range 5 {
				tx.PutSnapshot(&state.Snapshot{ID: fmt.Sprint("s", g, i), Golden: name, State: state.SnapshotReady, Created: now, Databases: []string{"shop"}})
			}
		})
	}
	change(func(tx *state.Tx) { tx.PutToken(&state.Token{ID: "t", Name: "ci", Hash: []byte{1, 2}}) })
	for i := 0; i < clones; i += 20 {
		change(func(tx *state.Tx) {
			for j := i; j < min(i+20, clones); j++ {
				tx.PutClone(&state.Clone{
					ID: fmt.Sprint("id", j), Name: fmt.Sprint("name", j), Golden: "golden1", Snapshot: "s10", State: state.CloneReady, Created: now,
					Labels: map[string]string{"ci": strings.Repeat("x", j)}, Port: 20000 + j, Generation: 1, LastGeneration: 1,
				})
			}
		})
	}
	change(func(tx *state.Tx) {
		for j := 0; j < clones; j += 3 {
			c, _ := tx.Clone(fmt.Sprint("id", j))
			c.State = state.CloneDeleting
			tx.PutClone(&c)
			tx.DropClone(c.ID)
		}
	})
	want := recordsOf(s.View())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return want
}

// TestDamage cuts a state short at every page, flips bits all over it, and loses,
// doubles and swaps its pages. Each time it is refused and left as it is, or every
// record is as it was. Never does a part of it pass for the whole, nor the state
// before the last change for that after it.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	want := fill(t, path, 120)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused, fine := 0, 0
	damaged := filepath.Join(t.TempDir(), "state.db")
	try := func(what string, raw []byte) {
		t.Helper()
		if err := os.WriteFile(damaged, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		checked := state.Check(damaged)
		s, err := state.Open(damaged, state.Options{})
		if (checked == nil) != (err == nil) {
			t.Errorf("%s: Check says %v, Open %v", what, checked, err)
		}
		if err == nil {
			fine++
			if got := recordsOf(s.View()); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: opened with other records: %d goldens, %d snapshots, %d clones, %d events", what,
					len(got.goldens), len(got.snapshots), len(got.clones), len(got.events))
			}
			if err := s.Close(); err != nil {
				t.Errorf("%s: close: %v", what, err)
			}
			return
		}
		refused++
		newer := errs.As(err).Reason == "STATE_NEWER" && strings.HasPrefix(what, "bit") // of the version's digit
		if !errs.Is(err, errs.Corrupt) && !newer || errs.As(err).Hint == "" {
			t.Errorf("%s: %v", what, err)
		}
		if left, err := os.ReadFile(damaged); err != nil || !bytes.Equal(left, raw) {
			t.Errorf("%s: the refused file was changed: %v", what, err)
		}
	}
	page := os.Getpagesize()
	for size := 0; size < len(whole); size += page {
		try(fmt.Sprintf("cut to %d", size), whole[:size])
		try(fmt.Sprintf("cut to %d", size+page/2), whole[:size+page/2])
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		at, bit := random.IntN(len(whole)), random.IntN(8)
		if random.IntN(2) == 0 {
			at = at/page*page + random.IntN(128) // a page's beginning says what it is
		}
		raw := bytes.Clone(whole)
		raw[at] ^= 1 << bit
		try(fmt.Sprintf("bit %d flipped at %d", bit, at), raw)
	}
	for at := 0; at < len(whole); at += page {
		raw := bytes.Clone(whole)
		clear(raw[at : at+page])
		try(fmt.Sprintf("page at %d lost", at), raw)
		other := random.IntN(len(whole)/page) * page
		copy(raw[at:at+page], whole[other:other+page])
		try(fmt.Sprintf("page at %d is that at %d", at, other), raw)
		copy(raw[other:other+page], whole[at:at+page])
		try(fmt.Sprintf("pages at %d and %d swapped", at, other), raw)
	}
	try("not a state", bytes.Repeat([]byte("nonsense"), 4096))
	t.Logf("%d bytes: %d refused, %d as before", len(whole), refused, fine)
	if refused < 100 || fine < 100 {
		t.Errorf("%d refused, %d as before: one of them was hardly tried", refused, fine)
	}
}

// TestLoops leads the pages of a state back to themselves, which bbolt alone
// would follow without end.
func TestLoops(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	fill(t, path, 120)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page, refused := os.Getpagesize(), 0
	for at := 2 * page; at < len(whole); at += page {
		if whole[at+8] != 1 { // a branch
			continue
		}
		for i := range int(whole[at+10]) {
			raw := bytes.Clone(whole)
			copy(raw[at+16+i*16+8:][:8], whole[at:at+8]) // its own number
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			switch err := state.Check(path); {
			case errs.Is(err, errs.Corrupt):
				refused++
			case err != nil: // nil: what was a branch is free now
				t.Errorf("a loop at page %d: %v", at/page, err)
			}
		}
	}
	if refused == 0 {
		t.Error("no branch was tried")
	}
}

// TestCheck tells a whole state, one in use, one of a newer cloned and none.
func TestCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	if err := state.Check(path); errs.As(err).Reason != "STATE_UNREADABLE" {
		t.Errorf("none: %v", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("looking made one: %v", err)
	}
	fill(t, path, 10)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := state.Check(path); err != nil {
		t.Error(err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("looking changed it: %v", err)
	}
	s := open(t, path)
	if err := state.Check(path); errs.As(err).Reason != "STATE_IN_USE" {
		t.Errorf("in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("version"), []byte("99")) })
	if err := state.Check(path); errs.As(err).Reason != "STATE_NEWER" {
		t.Errorf("newer: %v", err)
	}
}

// TestRevisionSetBack: a state whose revision was set back would give one out
// twice.
func TestRevisionSetBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	fill(t, path, 10)
	edit(t, path, func(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("revision"), []byte("2")) })
	if _, err := state.Open(path, state.Options{}); !errs.Is(err, errs.Corrupt) {
		t.Errorf("open: %v", err)
	}
}

func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "state.db")
	fill(b, path, 500)
	for b.Loop() {
		s, err := state.Open(path, state.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
