package state_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cloned-db/cloned/state"
)

var update = flag.Bool("update", false, "make the state file of the present version anew, when its records have got new fields")

// content is all that a state holds.
type content struct {
	Revision  uint64
	Restored  time.Time
	Goldens   []state.Golden
	Snapshots []state.Snapshot
	Clones    []state.Clone
	Events    []state.Event
	Tokens    []state.Token `json:",omitempty"` // since version 2
	Clock     state.Clock   `json:",omitzero"`
}

func contentOf(v *state.View) content {
	c := content{
		Revision: v.Revision(), Restored: v.Restored(), Clock: v.Clock(), Goldens: v.Goldens(),
		Snapshots: v.Snapshots(""), Clones: slices.Collect(v.Clones()),
	}
	c.Events, _ = v.EventsAfter(0, 1000)
	if tokens := v.Tokens(); len(tokens) > 0 {
		c.Tokens = tokens
	}
	return c
}

// TestVersions opens the state file of each version there ever was, and finds in
// it what was written then. testdata/vN.db and what is in it, vN.json, are made
// by -update while N is the present version, and are never changed afterwards.
func TestVersions(t *testing.T) {
	if *update {
		makeVersion(t)
	}
	for n := 1; n <= state.Version; n++ {
		t.Run(fmt.Sprint("v", n), func(t *testing.T) {
			raw := read(t, fmt.Sprintf("testdata/v%d.db", n))
			var want content
			dec := json.NewDecoder(bytes.NewReader(read(t, fmt.Sprintf("testdata/v%d.json", n))))
			dec.DisallowUnknownFields() // a field that was renamed would be lost in silence
			if err := dec.Decode(&want); err != nil {
				t.Fatal(err)
			}
			if len(want.Goldens)*len(want.Snapshots)*len(want.Clones)*len(want.Events) == 0 {
				t.Fatal("nothing is in it")
			}
			path := filepath.Join(t.TempDir(), "state.db")
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := state.Check(path); err != nil && n == state.Version {
				t.Error(err)
			}
			if !bytes.Equal(read(t, path), raw) {
				t.Error("a check has changed the file")
			}
			s := open(t, path)
			if got := contentOf(s.View()); !reflect.DeepEqual(got, want) {
				t.Errorf("read\n  %+v\nwritten\n  %+v", got, want)
			}
			put(t, s, &state.Clone{ID: "new", Name: "new"})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if got := open(t, path).View(); got.CloneCount() != want.visible()+1 || got.Revision() != want.Revision+1 {
				t.Errorf("after a change and a restart: %d clones, revision %d", got.CloneCount(), got.Revision())
			}
		})
	}
}

func (c content) visible() (n int) {
	for _, clone := range c.Clones {
		if clone.State != state.CloneDeleting {
			n++
		}
	}
	return n
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// makeVersion writes a state in which every field of every record has a value.
func makeVersion(t *testing.T) {
	t.Helper()
	path := fmt.Sprintf("testdata/v%d.db", state.Version)
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	s := open(t, path)
	err := s.Update(func(tx *state.Tx) error {
		var golden state.Golden
		var snapshots [3]state.Snapshot
		var clones [3]state.Clone
		n := 0
		fillIn(&n, reflect.ValueOf(&golden).Elem())
		fillIn(&n, reflect.ValueOf(&snapshots).Elem())
		fillIn(&n, reflect.ValueOf(&clones).Elem())
		var token state.Token
		fillIn(&n, reflect.ValueOf(&token).Elem())
		var clock state.Clock
		fillIn(&n, reflect.ValueOf(&clock).Elem())
		tx.PutClock(clock)
		golden.Name, golden.Published = "shop", true
		for i, is := range []state.SnapshotState{state.SnapshotReady, state.SnapshotPreparing, state.SnapshotDeleting} {
			snapshots[i].Golden, snapshots[i].State = "shop", is
		}
		for i, is := range []state.CloneState{state.CloneReady, state.CloneFailed, state.CloneDeleting} {
			clones[i].Golden, clones[i].State = "shop", is
		}
		tx.PutGolden(&golden)
		tx.PutToken(&token)
		for i := range snapshots {
			tx.PutSnapshot(&snapshots[i])
			tx.PutClone(&clones[i])
		}
		tx.SetRestored(time.Unix(1_800_000_000, 0).UTC())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.MarshalIndent(contentOf(s.View()), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(fmt.Sprintf("testdata/v%d.json", state.Version), append(raw, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// fillIn gives every field another value than zero, no two the same.
func fillIn(n *int, v reflect.Value) {
	*n++
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(1_700_000_000+int64(*n), int64(*n)).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprint("text-", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint8:
		v.SetUint(uint64(*n%255 + 1))
	case reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n))
	case reflect.Struct:
		for i := range v.NumField() {
			fillIn(n, v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fillIn(n, v.Index(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fillIn(n, v.Index(0))
		fillIn(n, v.Index(1))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fillIn(n, key)
		fillIn(n, value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	default:
		panic(fmt.Sprint("no value for a ", v.Type()))
	}
}
