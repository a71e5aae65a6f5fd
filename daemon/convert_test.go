package daemon

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/database"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
	"github.com/cloned-db/cloned/state"
)

func TestSourcesRoundTrip(t *testing.T) {
	for _, src := range []state.GoldenSource{
		{Kind: string(database.SourceDirectory), Directory: "/d"},
		{Kind: string(database.SourceBaseBackup), ConnInfo: "host=x", PasswordFile: "/p"},
		{Kind: string(database.SourceInPlace), Dataset: "tank/r", DataDir: "pg"},
		{Kind: string(database.SourceClone), Clone: "dev", Snapshot: "v1"},
	} {
		if got := sourceFromProto(sourceToProto(src)); got != src {
			t.Errorf("%+v became %+v", src, got)
		}
	}
	if sourceToProto(state.GoldenSource{Kind: "other"}) != nil {
		t.Error("an unknown source became something")
	}
}

func TestOptionsRoundTrip(t *testing.T) {
	o := state.GoldenOptions{Image: "i", Database: "d", Settings: map[string]string{"a": "b"}, Durable: true,
		Vacuum: true, MemoryBytes: 1, CPUs: 1.5, PIDs: 2, ShmBytes: 3}
	v := reflect.ValueOf(o)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("this test forgets %s", v.Type().Field(i).Name)
		}
	}
	if got := optionsFromProto(optionsToProto(o)); !reflect.DeepEqual(got, o) {
		t.Errorf("%+v became %+v", o, got)
	}
}

// TestStates: each state of the API has one of ours, and the other way round.
func TestStates(t *testing.T) {
	values := clonedv1.CloneState(0).Descriptor().Values()
	if got, want := len(cloneStates()), values.Len()-1; got != want {
		t.Errorf("%d states, the API has %d", got, want)
	}
	for i := 1; i < values.Len(); i++ {
		theirs := clonedv1.CloneState(values.Get(i).Number())
		ours := stateFromProto(theirs)
		if stateToProto[ours] != theirs || !strings.HasSuffix(theirs.String(), strings.ToUpper(string(ours))) {
			t.Errorf("%v is %q", theirs, ours)
		}
	}
	if stateFromProto(clonedv1.CloneState_CLONE_STATE_UNSPECIFIED) != "" {
		t.Error("unspecified selects something")
	}
}

// TestCloneToProto: every field is filled, and the password only when it may be.
func TestCloneToProto(t *testing.T) {
	now := time.Now()
	c := state.Clone{
		ID: "i", Name: "n", Golden: "g", Snapshot: "s", Branch: "b", Owner: "o", Labels: map[string]string{"k": "v"},
		Protect: true, State: state.CloneReady, Message: "m", Created: now, Expires: now, Generation: 2, Claimed: 2,
		Held: true, Kept: []state.KeptGeneration{{Generation: 1, Snapshot: "s", Since: now, Until: now}}, KeptUntil: now,
		Restarts: 1, OOMKills: 1, Timings: []state.Timing{{Phase: "start", Took: time.Second}}, Revision: 9,
	}
	e := control.Endpoint{Addr: "127.0.0.1", Port: 20000, Role: "r", Password: "secret", Database: "d",
		URL: "postgres://r:secret@127.0.0.1:20000/d?sslmode=disable"}
	plain := cloneToProto(c, e)
	if strings.Contains(plain.String(), "secret") {
		t.Errorf("a list tells the password: %v", plain)
	}
	if plain.GetEndpoint().GetUrl() != "postgres://r@127.0.0.1:20000/d?sslmode=disable" {
		t.Error(plain.GetEndpoint().GetUrl())
	}
	full := withCredentials(plain, c, e)
	if full.GetEndpoint().GetPassword() != "secret" || full.GetEndpoint().GetUrl() != e.URL.Reveal() {
		t.Errorf("got %v", full.GetEndpoint())
	}
	full.Usage = &clonedv1.Usage{}
	for _, m := range []protoreflect.Message{full.ProtoReflect(), full.GetEndpoint().ProtoReflect(), full.GetKept()[0].ProtoReflect()} {
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			if !m.Has(fields.Get(i)) {
				t.Errorf("%s is not filled", fields.Get(i).FullName())
			}
		}
	}
	c.Claimed = 1 // the second generation does not know the password yet
	if got := withCredentials(cloneToProto(c, e), c, e); strings.Contains(got.String(), "secret") {
		t.Errorf("a password that opens nothing: %v", got)
	}
	c.Expires = time.Time{}
	if cloneToProto(c, e).GetExpireTime() != nil {
		t.Error("a clone that never expires has a time")
	}
}

func TestStatusToProto(t *testing.T) {
	st := control.Status{
		Version: "v", Instance: "i", Driver: "d", DriverReason: "dr", Thin: true, Runtime: "r", RuntimeReason: "rr",
		Isolated: true, FloorBytes: 1, Clones: map[state.CloneState]int{state.CloneReady: 2, state.CloneFailed: 0},
		Goldens: 1, Snapshots: 1, MaxClones: 1, Ports: [2]int{1, 2}, PortsFree: 1, Orphans: 1,
		Degraded: []string{"x"}, LastReconcile: time.Now(),
	}
	st.Space.Total, st.Space.Free, st.Limits.Limits = 2, 1, true
	got := statusToProto(st).ProtoReflect()
	fields := got.Descriptor().Fields()
	for i := range fields.Len() {
		if !got.Has(fields.Get(i)) {
			t.Errorf("%s is not filled", fields.Get(i).Name())
		}
	}
	if n := len(statusToProto(st).GetClones()); n != 1 {
		t.Errorf("%d states with clones", n)
	}
}
