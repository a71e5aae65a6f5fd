package rehearse

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func at(n int) time.Duration { return ms(n).Duration }

// lockRow is a row of a sample, of a lock in database 1.
func lockRow(vxid string, rel uint32, mode string, granted bool) seen {
	return seen{lockKey{vxid, 1, rel, mode}, granted, "db", "SQL  of\n" + vxid}
}

func newTestTracker() *tracker {
	return newTracker(catalog{1: {name: "db", rels: map[uint32]relation{
		20000: {name: "public.a", kind: "table"},
		20001: {name: "pg_toast.pg_toast_20000", kind: "TOAST table", private: true},
	}}})
}

func TestTrackerTimes(t *testing.T) {
	tr := newTestTracker()
	one := func(granted bool) seen { return lockRow("3/1", 20000, "AccessExclusiveLock", granted) }
	tr.sample(at(0), nil)
	tr.sample(at(20), []seen{one(false)})
	tr.sample(at(50), []seen{one(false)})
	tr.sample(at(70), []seen{one(true), lockRow("3/1", 20000, "AccessShareLock", true), lockRow("3/1", 20001, "AccessExclusiveLock", true)})
	tr.sample(at(90), []seen{one(true), lockRow("3/1", 20000, "AccessShareLock", true)})
	// The same session's next transaction.
	tr.sample(at(120), []seen{lockRow("3/2", 20000, "AccessExclusiveLock", true)})
	tr.sample(at(140), []seen{lockRow("3/2", 20000, "AccessExclusiveLock", true)})
	var r Report
	tr.locks(&r, nil)
	want := []Lock{
		{Statement: "SQL of 3/1", Mode: "AccessExclusive", Table: "public.a", Database: "db", Held: ms(50), Waited: ms(50), FirstSeen: ms(20), BlocksReads: true, BlocksWrites: true},
		{Statement: "SQL of 3/2", Mode: "AccessExclusive", Table: "public.a", Database: "db", Held: ms(20), FirstSeen: ms(120), BlocksReads: true, BlocksWrites: true},
	}
	if !slices.Equal(r.Locks, want) {
		t.Errorf("got  %+v\nwant %+v", r.Locks, want)
	}
	if r.WeakLocks != 1 || r.PrivateLocks != 1 {
		t.Errorf("%d weak and %d private locks", r.WeakLocks, r.PrivateLocks)
	}
}

func TestTrackerNames(t *testing.T) {
	tr := newTestTracker()
	rows := []seen{}
	for rel := range uint32(4) {
		rows = append(rows, lockRow("3/1", 30000+rel, "ShareLock", true))
	}
	in := place{1, "db"}
	asked := tr.sample(at(0), rows)
	if len(asked) != 1 || len(asked[in]) != 4 {
		t.Fatalf("asks for %v", asked)
	}
	if again := tr.sample(at(20), rows); len(again) != 0 {
		t.Errorf("asks again for %v", again)
	}
	// 30000 is visible, 30001 is not; nobody answers for the other two.
	tr.learn(in, []uint32{30000, 30001}, map[uint32]relation{30000: {name: "public.n"}})
	if more := tr.sample(at(40), []seen{lockRow("3/2", 30000, "ShareLock", true), lockRow("3/2", 30001, "ShareLock", true)}); len(more[in]) != 1 || more[in][0] != 30001 {
		t.Errorf("asks for %v", more)
	}
	// An answer may come when the lock is gone.
	tr.sample(at(60), nil)
	tr.learn(in, []uint32{30001}, map[uint32]relation{30001: {name: "public.m"}})
	var r Report
	tr.locks(&r, catalog{1: {name: "db", rels: map[uint32]relation{30002: {name: "public.late"}}}})
	var names []string
	for _, l := range r.Locks {
		names = append(names, l.Table)
	}
	slices.Sort(names)
	if want := []string{"oid 30003", "public.late", "public.m", "public.n", "public.n"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	if r.PrivateLocks != 1 {
		t.Errorf("%d private locks", r.PrivateLocks)
	}
}

func TestTrackerBounds(t *testing.T) {
	tr := newTestTracker()
	for i := range 5 * maxLocks {
		mode := "ShareUpdateExclusiveLock"
		if i == 10 {
			mode = "AccessExclusiveLock"
		}
		tr.sample(at(20*i), []seen{lockRow(fmt.Sprint("3/", i), 20000, mode, true)})
	}
	var r Report
	tr.locks(&r, nil)
	if len(r.Locks) != maxLocks || r.LocksOmitted != 4*maxLocks || r.Locks[0].Mode != "AccessExclusive" {
		t.Errorf("%d locks, %d omitted, the first %+v", len(r.Locks), r.LocksOmitted, r.Locks[0])
	}
}

func TestActivity(t *testing.T) {
	a := newActivity()
	call := func(pid int32, start int64, text string) active {
		return active{pid, time.UnixMicro(start), "db", text}
	}
	a.sample(at(0), []active{call(1, 1, "SELECT  1"), call(2, 1, "SELECT 2")})
	a.sample(at(20), []active{call(1, 1, "SELECT  1"), call(2, 2, "SELECT 2")})
	a.sample(at(40), []active{call(1, 1, "SELECT  1"), call(3, 1, "SELECT 1")})
	a.sample(at(60), nil)
	want := []Statement{
		{Statement: "SELECT 1", Database: "db", Calls: 2, Total: ms(80), LastSeen: ms(40)},
		{Statement: "SELECT 2", Database: "db", Calls: 2, Total: ms(40), LastSeen: ms(20)},
	}
	if got := a.top(); !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for i := range 3 * maxTexts {
		a.sample(at(100+20*i), []active{call(1, int64(i), fmt.Sprint("INSERT ", i))})
	}
	if got := a.top(); len(a.all) > 2*maxTexts || len(got) != maxStatements || got[0] != want[0] {
		t.Errorf("%d texts, the first %+v", len(a.all), got[0])
	}
}
