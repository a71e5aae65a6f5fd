package main

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func TestUndo(t *testing.T) {
	f, host := serve(t)
	f.put("a").Kept = []*clonedv1.KeptGeneration{{Generation: 1, ReplaceTime: timestamppb.Now()}, {Generation: 2, ReplaceTime: timestamppb.Now()}}
	for _, test := range []struct {
		args string
		want int64
	}{{"undo a", 2}, {"undo a --generation 1", 1}, {"undo gone", 0}} {
		if out, stderr, code := ctl(t, host, strings.Fields(test.args)...); code != 0 || !strings.Contains(out, "is back at generation") {
			t.Errorf("%s: exit %d: %s%s", test.args, code, out, stderr)
		}
		if got := f.undos[len(f.undos)-1].Generation; got != test.want {
			t.Errorf("%s: generation %d is asked for, want %d", test.args, got, test.want)
		}
	}
	if out, _, _ := ctl(t, host, "show", "a"); !strings.Contains(out, "generation 2, replaced 0s ago") {
		t.Errorf("show does not say what is kept:\n%s", out)
	}
}

// TestNow: --now reaches the daemon from each command that replaces a state.
func TestNow(t *testing.T) {
	f, host := serve(t)
	f.put("a")
	for _, args := range []string{"reset a --now", "rm a --now"} {
		if _, stderr, code := ctl(t, host, strings.Fields(args)...); code != 0 {
			t.Errorf("%s: exit %d: %s", args, code, stderr)
		}
	}
	if !f.resets[0].Now || !f.deletes[0].Now {
		t.Errorf("asked for: %v, %v", f.resets, f.deletes)
	}
}

// TestRunHolds: the clone of a run is held while the command runs, and deleted
// for good.
func TestRunHolds(t *testing.T) {
	f, host := serve(t)
	if _, stderr, code := ctl(t, host, "run", "--", "sh", "-c", "sleep 0.2; exit 3"); code != 3 {
		t.Errorf("exit %d: %s", code, stderr)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.creates) != 1 || !f.creates[0].Held || len(f.holds) != 1 || f.holds[0] != f.creates[0].Name {
		t.Errorf("created %v, held %v", f.creates, f.holds)
	}
	if len(f.deletes) != 1 || !f.deletes[0].Now || len(f.clones) != 0 {
		t.Errorf("deleted %v, left %v", f.deletes, f.clones)
	}
}
