package control

import (
	"strings"
	"testing"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// FuzzNames: a name that passes is one that can be part of a path, a container's
// name and a command; and what names something of ours names exactly one thing.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{"main", "a-b", "-a", "a.", "../x", "c-abc-1", "g-abc", "t-abc-fill", "c-abc-01", "c-abc-9223372036854775808", "zürich", strings.Repeat("a", 64), "a\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		err := checkName("name", name)
		if err == nil && (len(name) > 63 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || strings.Trim(name, "-") != name) {
			t.Errorf("%q passes for a name", name)
		}
		if err != nil && (!errs.Is(err, errs.Invalid) || errs.As(err).Field != "name") {
			t.Errorf("%q: %v", name, err)
		}
		if checkText("owner", name) == nil && strings.ContainsAny(name, "\x00\n\x1b\x7f") {
			t.Errorf("%q passes for a text", name)
		}
		if err := checkLabels(map[string]string{name: name}); err == nil && (name == "" || strings.ContainsAny(name, "= \n")) {
			t.Errorf("%q passes for a label's key", name)
		}
		if id, generation, ok := parseCloneName(name); ok && cloneName(id, generation) != name {
			t.Errorf("%q is generation %d of %q", name, generation, id)
		}
		if snapshot, ok := parseGoldenVolume(name); ok && (goldenVolume(snapshot) != name || storage.CheckID(name) != nil) {
			t.Errorf("%q is the volume of snapshot %q", name, snapshot)
		}
		if snapshot, ok := parseTask(name); ok && !strings.HasPrefix(name, taskPrefix(snapshot)) {
			t.Errorf("%q is a task of snapshot %q", name, snapshot)
		}
	})
}
