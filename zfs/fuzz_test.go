package zfs

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// FuzzAnswers: what zfs prints is read as a whole or not at all, and names nothing
// that is not below the dataset.
func FuzzAnswers(f *testing.F) {
	f.Add("tank/cloned/c-a-1\tcloned:instance\tt\tlocal\ntank/cloned/c-a-1\torigin\t-\t-\n", "tank/cloned/c-a-1")
	f.Add("tank/x@cloned-t-a\tcloned:instance\tt\tinherited from tank\ntank/x@cloned-t-a\torigin\t\t\n", "tank/x@cloned-t-a")
	f.Add("+\tF\t/tank/a\\0040b\nR\t/\t/tank/d\t/tank/e\nM\tF\t/tank/c\t(+1)\n-\tF\t/tank/(on_delete_queue)\n", "tank/cloned")
	f.Add("M\tF\t/tank/../etc/passwd\n", "../..")
	d := &Driver{parent: "tank/cloned", pool: "tank", instance: "t", mountpoint: "/tank/cloned"}
	properties := []string{markProperty, "origin"}
	f.Fuzz(func(t *testing.T, out, name string) {
		found, err := parseGet([]byte(out), properties)
		if err != nil && errs.As(err).Reason != reasonOutput {
			t.Errorf("%v", err)
		}
		if err == nil {
			checkWhole(t, out, found, properties)
			if _, err := d.inventory(found); err != nil && errs.As(err).Reason != reasonOutput {
				t.Errorf("%v", err)
			}
		}
		lines, err := parseDiff([]byte(out), "/tank")
		if err == nil && len(lines) != strings.Count(out, "\n") {
			t.Errorf("%d lines of %q", len(lines), out)
		}
		for _, l := range lines {
			for _, p := range []path{l.was, l.is} {
				if p.rel != "" && !filepath.IsLocal(p.rel) {
					t.Errorf("%q leads out", p.rel)
				}
			}
		}
		checkNames(t, d, name)
	})
}

// checkWhole: the datasets are all that the text says, in its order.
func checkWhole(t *testing.T, out string, found []dataset, properties []string) {
	t.Helper()
	var again strings.Builder
	for _, f := range found {
		for _, p := range properties {
			again.WriteString(strings.Join([]string{f.name, p, f.value(p), f.properties[p].source}, "\t") + "\n")
		}
	}
	if strings.TrimSuffix(again.String(), "\n") != strings.TrimSuffix(out, "\n") {
		t.Errorf("%q was read as %q", out, again.String())
	}
}

// checkNames: a name that passes for one of ours is the one that we give, and can
// be no option.
func checkNames(t *testing.T, d *Driver, name string) {
	t.Helper()
	if id, ok := d.volumeID(name); ok {
		if again, err := d.volumeName(id); err != nil || again != name {
			t.Errorf("%q is volume %q, whose name is %q, %v", name, id, again, err)
		}
	}
	if ref, ok := d.snapshotRef(name); ok && ref.Check() == nil {
		if again, err := d.snapshotName(ref); err == nil && again != name {
			t.Errorf("%q is snapshot %+v, whose name is %q", name, ref, again)
		}
	}
	if checkDataset("f", name, maxName) == nil && (name[0] == '-' || strings.ContainsAny(name, "@# \t\n\x00") || len(name) > maxName) {
		t.Errorf("%q passes for a dataset", name)
	}
	if d.checkForeign(name) == nil && poolOf(name) != "tank" {
		t.Errorf("%q passes for a dataset of the pool", name)
	}
	if storage.CheckID(name) == nil && (len(name) > maxID || strings.ContainsAny(name, "/@. ")) {
		t.Errorf("%q passes for an ID", name)
	}
}

// FuzzStream: a stream of zfs send is read to its end or is an error, in memory
// that its length bounds.
func FuzzStream(f *testing.F) {
	whole := bytes.Join([][]byte{beginning(24), write(4, 16384, 4096), record(recordWriteEmbedded, map[int]uint64{0: 7, 16: 512}, map[int]uint32{44: 18}, 24), record(recordEnd, nil, nil, 0)}, nil)
	f.Add(whole)
	f.Add(whole[:2*recordSize])
	f.Add(bytes.Join([][]byte{beginning(0), record(recordWrite, map[int]uint64{0: 1, 24: 1 << 63}, nil, 0), record(recordEnd, nil, nil, 0)}, nil))
	f.Fuzz(func(t *testing.T, stream []byte) {
		found, err := written(bytes.NewReader(stream))
		if err == nil && len(stream) < 2*recordSize {
			t.Errorf("%d bytes pass for a stream", len(stream))
		}
		if len(found) > len(stream)/recordSize {
			t.Errorf("%d objects in %d bytes", len(found), len(stream))
		}
		for object, n := range found {
			if n < 0 {
				t.Errorf("%d bytes were written to object %d", n, object)
			}
		}
	})
}
