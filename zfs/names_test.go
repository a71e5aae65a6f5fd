package zfs

import (
	"strings"
	"testing"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

func TestCheckDataset(t *testing.T) {
	for _, good := range []string{"tank", "tank/cloned", "Tank_1.a:b-c/x/y-", "tank/...", "tank/0"} {
		if err := checkDataset("parent", good, 107); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "/", "/tank", "tank/", "tank//x", "-o", "-rf/x", "1tank", "tank/a b", "tank/x@y", "tank/x#y", "tank/x%y",
		"tank/a,b", "tank/.", "tank/../x", "tank/x\n", "tank/\tx", "tank/ü", "tank/$(id)", "tank/'x'", strings.Repeat("t", 107+1),
	} {
		err := checkDataset("parent", bad, 107)
		if !errs.Is(err, errs.Invalid) || errs.As(err).Field != "parent" {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

func TestLongestNamesFitIntoZFS(t *testing.T) {
	id := strings.Repeat("i", maxID)
	d := &Driver{parent: "p/" + strings.Repeat("p", maxName-1-maxID-8-maxID-1-maxID-2), pool: "p", instance: id}
	if err := checkDataset("parent", d.parent+"p", maxName-len("/")-maxID-d.snapshotSuffix()); !errs.Is(err, errs.Invalid) {
		t.Errorf("a parent too long: got %v", err)
	}
	for _, ref := range []storage.SnapshotRef{
		{Source: storage.Own(id), ID: id},
		{Source: storage.Source{Foreign: "p/" + strings.Repeat("f", maxName-8-maxID-1-maxID-2)}, ID: id},
	} {
		name, err := d.snapshotName(ref)
		if err != nil || len(name) != maxName {
			t.Errorf("%d characters, %v", len(name), err)
		}
	}
}

func TestSnapshotNamesRoundTrip(t *testing.T) {
	d := testDriver()
	for ref, want := range map[storage.SnapshotRef]string{
		{Source: storage.Own("g-1"), ID: "ready"}:                         "tank/cloned/g-1@cloned-i-1-ready",
		{Source: storage.Source{Foreign: "tank/replica"}, ID: "s-3"}:      "tank/replica@cloned-i-1-s-3",
		{Source: storage.Source{Foreign: "tank/cloned/x/pg"}, ID: "s-3"}:  "tank/cloned/x/pg@cloned-i-1-s-3",
		{Source: storage.Source{Foreign: "tank"}, ID: "cloned-i-1-again"}: "tank@cloned-i-1-cloned-i-1-again",
	} {
		name, err := d.snapshotName(ref)
		if err != nil || name != want {
			t.Errorf("%v: got %s, %v", ref, name, err)
		}
		if back, ok := d.snapshotRef(name); !ok || back != ref {
			t.Errorf("%s: came back as %v, %v", name, back, ok)
		}
	}
	for _, name := range []string{"-", "tank/cloned/g-1", "tank/replica@hourly", "tank/replica@cloned-i-2-s-3", "tank/replica@cloned-i-1-", "tank/cloned/g-1@ready", "tank/cloned/g-1@cloned-i-1-Daily"} {
		if ref, ok := d.snapshotRef(name); ok {
			t.Errorf("%s: taken for %v", name, ref)
		}
	}
}

func TestSnapshotNameRefuses(t *testing.T) {
	d := testDriver()
	for what, ref := range map[string]storage.SnapshotRef{
		"no source":         {ID: "a"},
		"two sources":       {Source: storage.Source{Volume: "g-1", Foreign: "tank/x"}, ID: "a"},
		"a range":           {Source: storage.Own("g-1"), ID: "a%b"},
		"a list":            {Source: storage.Own("g-1"), ID: "a,b"},
		"no ID":             {Source: storage.Own("g-1")},
		"a climbing volume": {Source: storage.Own("../g-1"), ID: "a"},
		"another pool":      {Source: storage.Source{Foreign: "tank2/x"}, ID: "a"},
		"the parent":        {Source: storage.Source{Foreign: "tank/cloned"}, ID: "a"},
		"a volume":          {Source: storage.Source{Foreign: "tank/cloned/g-1"}, ID: "a"},
		"an option":         {Source: storage.Source{Foreign: "-R"}, ID: "a"},
	} {
		if name, err := d.snapshotName(ref); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: got %q, %v", what, name, err)
		}
	}
}
