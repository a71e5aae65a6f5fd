package zfs

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// tree is an answer of zfs get over a parent with one volume of ours, a snapshot
// of it, a snapshot that somebody else made of it (which inherits its mark), a
// clone, and a volume that inherits a mark from the parent.
const tree = "" +
	"tank/cloned\tcloned:instance\ti-1\tlocal\n" +
	"tank/cloned\tcloned:created\t2023-11-14T22:13:20.5Z\tlocal\n" +
	"tank/cloned\torigin\t-\t-\n" +
	"tank/cloned\tmounted\tyes\t-\n" +
	"tank/cloned/g-1\tcloned:instance\ti-1\tlocal\n" +
	"tank/cloned/g-1\tcloned:created\t2023-11-14T22:13:21.5Z\tlocal\n" +
	"tank/cloned/g-1\torigin\t-\t-\n" +
	"tank/cloned/g-1\tmounted\tyes\t-\n" +
	"tank/cloned/g-1@cloned-i-1-ready\tcloned:instance\ti-1\tlocal\n" +
	"tank/cloned/g-1@cloned-i-1-ready\tcloned:created\t2023-11-14T22:13:22.5Z\tlocal\n" +
	"tank/cloned/g-1@cloned-i-1-ready\torigin\t-\t-\n" +
	"tank/cloned/g-1@cloned-i-1-ready\tmounted\t-\t-\n" +
	"tank/cloned/g-1@hourly\tcloned:instance\ti-1\tinherited from tank/cloned/g-1\n" +
	"tank/cloned/g-1@hourly\tcloned:created\t2023-11-14T22:13:23.5Z\tlocal\n" +
	"tank/cloned/g-1@hourly\torigin\t-\t-\n" +
	"tank/cloned/g-1@hourly\tmounted\t-\t-\n" +
	"tank/cloned/c-1\tcloned:instance\ti-1\tlocal\n" +
	"tank/cloned/c-1\tcloned:created\t2023-11-14T22:13:24.5Z\tlocal\n" +
	"tank/cloned/c-1\torigin\ttank/cloned/g-1@cloned-i-1-ready\t-\n" +
	"tank/cloned/c-1\tmounted\tno\t-\n" +
	"tank/cloned/mail\tcloned:instance\ti-1\tinherited from tank/cloned\n" +
	"tank/cloned/mail\tcloned:created\t2023-11-14T22:13:25.5Z\tlocal\n" +
	"tank/cloned/mail\torigin\t-\t-\n" +
	"tank/cloned/mail\tmounted\tyes\t-\n" +
	"tank/cloned/copy\tcloned:instance\ti-1\treceived\n" +
	"tank/cloned/copy\tcloned:created\t2023-11-14T22:13:26.5Z\tlocal\n" +
	"tank/cloned/copy\torigin\t-\t-\n" +
	"tank/cloned/copy\tmounted\tyes\t-\n"

func testDriver() *Driver {
	return &Driver{parent: "tank/cloned", pool: "tank", mountpoint: "/tank/cloned", instance: "i-1"}
}

func TestInventoryTakesOnlyLocalMarks(t *testing.T) {
	found, err := parseGet([]byte(tree), volumeProperties)
	if err != nil {
		t.Fatal(err)
	}
	got, err := testDriver().inventory(found)
	if err != nil {
		t.Fatal(err)
	}
	ready := storage.SnapshotRef{Source: storage.Own("g-1"), ID: "ready"}
	want := fmt.Sprint([]string{
		"g-1 /tank/cloned/g-1 2023-11-14T22:13:21.5Z <nil>",
		"c-1 /tank/cloned/c-1 2023-11-14T22:13:24.5Z " + fmt.Sprint(ready),
	})
	var volumes []string
	for _, v := range got.Volumes {
		origin := "<nil>"
		if v.Origin != nil {
			origin = fmt.Sprint(*v.Origin)
		}
		volumes = append(volumes, fmt.Sprintf("%s %s %s %s", v.ID, v.Path, v.Created.Format(time.RFC3339Nano), origin))
	}
	if fmt.Sprint(volumes) != want {
		t.Errorf("volumes: got %v, want %v", volumes, want)
	}
	if len(got.Snapshots) != 1 || got.Snapshots[0] != (storage.Snapshot{Ref: ready, Created: time.Date(2023, 11, 14, 22, 13, 22, 5e8, time.UTC)}) {
		t.Errorf("snapshots: got %v", got.Snapshots)
	}
}

func TestParseGetTakesAllOrNothing(t *testing.T) {
	none, err := parseGet(nil, volumeProperties)
	if err != nil || len(none) != 0 {
		t.Errorf("an empty answer: got %v, %v", none, err)
	}
	lines := strings.SplitAfter(tree, "\n")
	for what, answer := range map[string]string{
		"a line missing":     strings.Join(append(append([]string{}, lines[:5]...), lines[6:]...), ""),
		"the end missing":    strings.Join(lines[:len(lines)-2], ""),
		"half a line":        tree[:len(tree)-8],
		"a line torn in two": strings.Replace(tree, ":24.5Z", ":2\n4.5Z", 1),
		"another property":   strings.Replace(tree, "\torigin\t", "\tused\t", 1),
		"a dataset changing": strings.Replace(tree, "tank/cloned/g-1\torigin", "tank/cloned/g-2\torigin", 1),
		"a blank line":       "\n" + tree,
	} {
		if got, err := parseGet([]byte(answer), volumeProperties); !errs.Is(err, errs.Internal) || got != nil {
			t.Errorf("%s: got %d datasets, %v", what, len(got), err)
		}
	}
}

func TestParseGetTakesLongAnswers(t *testing.T) {
	var answer strings.Builder
	long := strings.Repeat("x", 1<<20)
	for i := range 3 {
		fmt.Fprintf(&answer, "tank/cloned/c-%d\tcloned:instance\t%s\tlocal\n", i, long)
	}
	got, err := parseGet([]byte(answer.String()), []string{markProperty})
	if err != nil || len(got) != 3 || len(got[2].value(markProperty)) != len(long) {
		t.Errorf("got %d datasets, %v", len(got), err)
	}
}

func TestMangledPropertiesAreErrors(t *testing.T) {
	found := dataset{name: "tank/x", properties: map[string]property{createdProperty: {value: "-"}, "used": {value: "-"}, "available": {value: "1"}}}
	if _, err := found.created(); !errs.Is(err, errs.Internal) {
		t.Errorf("created: got %v", err)
	}
	if _, _, err := found.numbers("available", "used"); !errs.Is(err, errs.Internal) {
		t.Errorf("numbers: got %v", err)
	}
}
