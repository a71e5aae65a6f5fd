package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestPrune(t *testing.T) {
	c := newCheckout(t)
	if out, code := c.try(c.dir, os.Args[0], "prune"); code != 5 || !strings.Contains(out, "git enable") {
		t.Errorf("not enabled: exit %d: %s", code, out)
	}
	c.commit()
	c.ctl("git", "enable")
	for _, b := range []string{"gone", "merged", "open", "guarded"} {
		c.git("switch", "-q", "-c", b, "main")
		c.commit()
	}
	c.git("switch", "-q", "main")
	c.git("merge", "-q", "--no-ff", "-m", "m", "merged")
	c.git("branch", "-q", "-D", "gone", "guarded")
	c.fake.clones["guarded"].Protect = true
	stranger := c.fake.put("stranger")
	stranger.Branch, stranger.Labels = "gone", map[string]string{repoLabel: "another"}
	names := func() string {
		var out []string
		for name := range c.fake.clones {
			out = append(out, name)
		}
		return fmt.Sprint(len(out), " ", strings.Contains(strings.Join(out, ","), "gone"), strings.Contains(strings.Join(out, ","), "merged"))
	}
	before := names()
	if out := c.ctl("prune", "--merged", "--dry-run"); !strings.Contains(out, "gone would be removed") || !strings.Contains(out, "merged would be removed") ||
		!strings.Contains(out, "guarded stays") || strings.Contains(out, "open") || strings.Contains(out, "main") || names() != before {
		t.Errorf("dry run: %s", out)
	}
	if out := c.ctl("prune"); !strings.Contains(out, "gone removed") || strings.Contains(out, "merged") {
		t.Errorf("prune: %s", out)
	}
	c.git("switch", "-q", "merged") // what is checked out stays
	if out := c.ctl("prune", "--merged"); strings.Contains(out, "merged removed") {
		t.Errorf("the checked out branch's clone: %s", out)
	}
	c.git("switch", "-q", "main")
	if out := c.ctl("prune", "--merged", "--now"); !strings.Contains(out, "merged removed") {
		t.Errorf("prune --merged: %s", out)
	}
	if d := c.fake.deletes; len(d) != 2 || d[0].Now || !d[1].Now {
		t.Errorf("to be kept, and with --now not: %v", d)
	}
	for _, name := range []string{"main", "open", "guarded", "stranger"} {
		if c.fake.clones[name] == nil {
			t.Errorf("%s is gone", name)
		}
	}
	if out := c.ctl("prune"); !strings.Contains(out, "nothing to remove") {
		t.Errorf("prune again: %s", out)
	}
}
