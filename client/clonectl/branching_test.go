package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// TestSnapshotCommands takes snapshots, lists them, and deletes them by name.
func TestSnapshotCommands(t *testing.T) {
	f, host := serve(t)
	f.put("dev")
	out, errOut, code := ctl(t, host, "snapshot", "dev@before", "-m", "before 0042", "--author", "ann")
	if code != 0 || !strings.Contains(out, "--from dev@before") || !strings.Contains(out, "reset dev --to before") {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	if s := f.taken[0]; s.Name != "before" || s.Message != "before 0042" || s.Author != "ann" {
		t.Errorf("taken: %+v", s)
	}
	if out, _, _ := ctl(t, host, "snapshot", "dev", "-o", "name"); out != "s2\n" || f.taken[0].Author == "" {
		t.Errorf("without a name: %q, %+v", out, f.taken[0])
	}
	out, _, _ = ctl(t, host, "log", "dev")
	for _, want := range []string{"s1", "before", "dev", "1h", "SPACE", "3.0 MiB", "ann", "before 0042", "snap1", "golden shop"} {
		if !strings.Contains(out, want) {
			t.Errorf("log does not say %q:\n%s", want, out)
		}
	}
	var list []map[string]any
	out, _, _ = ctl(t, host, "log", "dev", "-o", "json")
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 3 || list[1]["name"] != "before" {
		t.Errorf("log as JSON: %v\n%s", err, out)
	}
	if _, errOut, code := ctl(t, host, "snapshot", "rm", "dev@before", "snap9", "dev@none"); code == 0 || !strings.Contains(errOut, "none") {
		t.Errorf("rm of what is not there: exit %d: %s", code, errOut)
	}
	if want := []string{"s1", "snap9"}; !slices.Equal(f.dropped, want) {
		t.Errorf("deleted %v, want %v", f.dropped, want)
	}
	if _, errOut, code := ctl(t, host, "snapshot", "nobody"); code == 0 || !strings.Contains(errOut, "nobody") {
		t.Errorf("of no clone: exit %d: %s", code, errOut)
	}
}

// TestForkAndReset pass on what they are to start from.
func TestForkAndReset(t *testing.T) {
	f, host := serve(t)
	f.put("dev")
	f.goldens = []string{"shop", "other"} // a fork need not say which
	for from, want := range map[string][2]string{"dev": {"dev", ""}, "dev@before": {"dev", "before"}} {
		if _, errOut, code := ctl(t, host, "create", "x", "--from", from); code != 0 {
			t.Fatalf("exit %d: %s", code, errOut)
		}
		if req := f.creates[len(f.creates)-1]; req.From != want[0] || req.Snapshot != want[1] || req.Golden != "" {
			t.Errorf("--from %s asks for %+v", from, req)
		}
	}
	for _, args := range [][]string{{"--from", "dev", "--golden", "shop"}, {"--from", "dev", "--snapshot", "snap1"}} {
		if _, errOut, code := ctl(t, host, append([]string{"create", "x"}, args...)...); code != 2 {
			t.Errorf("%v: exit %d: %s", args, code, errOut)
		}
	}
	if _, errOut, code := ctl(t, host, "reset", "dev", "--to", "before"); code != 0 {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	if got := f.resets[0].GetSnapshot(); got != "before" {
		t.Errorf("reset to %q", got)
	}
}

// TestTreeCommand draws what descends from what.
func TestTreeCommand(t *testing.T) {
	f, host := serve(t)
	f.nodes = []*clonedv1.TreeNode{
		{Kind: clonedv1.TreeNode_KIND_GOLDEN, Id: "shop", Name: "shop"},
		{Kind: clonedv1.TreeNode_KIND_SNAPSHOT, Id: "snap1", Parent: "shop"},
		{Kind: clonedv1.TreeNode_KIND_CLONE, Id: "a1", Parent: "snap1", Name: "dev", Owner: "ann", State: clonedv1.CloneState_CLONE_STATE_READY, UniqueBytes: 3 << 20},
		{Kind: clonedv1.TreeNode_KIND_CLONE, Id: "b1", Parent: "snap1", Name: "gone", Deleted: true, State: clonedv1.CloneState_CLONE_STATE_DELETING},
		{Kind: clonedv1.TreeNode_KIND_SNAPSHOT, Id: "snap2", Parent: "b1", Name: "v1", Message: `say "why"`},
		{Kind: clonedv1.TreeNode_KIND_GOLDEN, Id: "other", Name: "other"},
	}
	for _, test := range []struct{ locale, want string }{
		{"C", "shop (golden)\n`- @snap1\n   |- dev  ready  3.0 MiB  ann\n   `- gone  deleted\n      `- @v1  \"say \\\"why\\\"\"\nother (golden)\n"},
		{"de_DE.UTF-8", "shop (golden)\n└─ @snap1\n   ├─ dev  ready  3.0 MiB  ann\n   └─ gone  deleted\n      └─ @v1  \"say \\\"why\\\"\"\nother (golden)\n"},
	} {
		t.Setenv("LC_ALL", test.locale)
		if out, errOut, code := ctl(t, host, "tree"); code != 0 || out != test.want {
			t.Errorf("exit %d:\n%s%s\nwant:\n%s", code, out, errOut, test.want)
		}
	}
	if out, _, _ := ctl(t, host, "tree", "other"); out != "other (golden)\n" {
		t.Errorf("of one golden: %q", out)
	}
	if _, errOut, code := ctl(t, host, "tree", "none"); code != 3 || !strings.Contains(errOut, "none") {
		t.Errorf("of no golden: exit %d: %s", code, errOut)
	}
	out, _, _ := ctl(t, host, "tree", "-o", "dot")
	for _, want := range []string{
		"digraph cloned {", `"snap1" -> "b1"`, `"b1" [label="gone  deleted" shape=box style=dashed]`, `\"say \\\"why\\\"\"`, "\n}\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("dot has no %s:\n%s", want, out)
		}
	}
	var list []map[string]any
	out, _, _ = ctl(t, host, "tree", "-o", "json")
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != len(f.nodes) {
		t.Errorf("as JSON: %v\n%s", err, out)
	}
}
