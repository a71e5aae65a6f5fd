package main

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// oddBranch has every byte that Git allows in a branch.
func oddBranch() string {
	var b strings.Builder
	for c := 0x21; c <= 0xff; c++ {
		if !strings.ContainsRune("/:?*[\\^~\x7f", rune(c)) {
			b.WriteByte(byte(c))
		}
	}
	return b.String() + "/\u00a0x\u00a0"
}

// TestGitOddBranches: what Git allows and the API does not is no obstacle.
func TestGitOddBranches(t *testing.T) {
	c := newCheckout(t)
	c.commit()
	c.ctl("git", "enable")
	c.ctl("git", "sync")
	c.git("tag", "tagged") // which makes "tagged" ambiguous
	seen := map[string]string{}
	for _, b := range []string{
		oddBranch(), "x\u00a0", "x", "x.y", strings.Repeat("long/", 60) + "x", strings.Repeat("ö", 120) + "/" + strings.Repeat("ö", 120), strings.Repeat("ö", 120) + "/a" + strings.Repeat("ö", 119),
		"\xff", "\xfe", "\u0085", "tagged", "HEAD2/@",
	} {
		if out, code := c.try(c.dir, "git", "switch", "-q", "-c", b); code != 0 || strings.Contains(out, "no database") {
			t.Errorf("%q: exit %d: %s", b, code, out)
			continue
		}
		made := c.fake.creates[len(c.fake.creates)-1]
		if len(made.Branch) > maxAttribute || !utf8.ValidString(made.Branch) || strings.ContainsFunc(made.Branch, unicode.IsControl) {
			t.Errorf("%q: the daemon would refuse %q", b, made.Branch)
		}
		if seen[made.Branch] != "" || seen[made.Name] != "" {
			t.Errorf("%q is taken for %q", b, seen[made.Branch])
		}
		if utf8.ValidString(b) && len(b) <= maxAttribute && b != "\u0085" && made.Branch != b {
			t.Errorf("%q has become %q without need", b, made.Branch)
		}
		seen[made.Branch], seen[made.Name] = b, b
		if !strings.Contains(c.read(".env"), "# clone "+made.Name+"\n# of branch "+b+".\n") {
			t.Errorf("%q: env %s", b, c.read(".env"))
		}
		if out := c.ctl("git", "status"); !strings.Contains(out, made.Name) {
			t.Errorf("%q: other commands mean another clone than %s: %s", b, made.Name, out)
		}
		n := len(c.fake.creates)
		c.git("switch", "-q", "main")
		c.git("switch", "-q", b)
		if len(c.fake.creates) != n {
			t.Errorf("%q: made anew: %v", b, c.fake.creates[n:])
		}
	}
	c.git("switch", "-q", "main")
	if out := c.ctl("prune"); !strings.Contains(out, "nothing to remove") {
		t.Errorf("branches that are there: %s", out)
	}
	c.git("switch", "-q", "x.y")
	t.Setenv("CLONED_HOST", "unix:///nonexistent/socket")
	c.git("switch", "-q", "x") // which the name of the other begins with
	if env := c.read(".env"); strings.Contains(env, "DATABASE_URL") {
		t.Errorf("the env names another branch's clone: %s", env)
	}
	t.Setenv("CLONED_HOST", c.host)
	c.git("branch", "-q", "-D", oddBranch(), "\xff")
	if out := c.ctl("prune", "-o", "name"); strings.Count(out, "\n") != 2 {
		t.Errorf("of two branches that are gone: %s", out)
	}
}

func FuzzAttributeOf(f *testing.F) {
	for _, seed := range []string{"main", "", "\xff", strings.Repeat("ö", 125), strings.Repeat("ö", 126), "\u0085", strings.Repeat("\xc3", 300)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, branch string) {
		got := attributeOf(branch)
		if len(got) > maxAttribute || !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("%q gives %q", branch, got)
		}
		if got != branch && !strings.Contains(got, "~") {
			t.Errorf("%q gives %q, which can be another's", branch, got)
		}
	})
}

// TestGitBranchNames: each branch gets a clone of its own, whatever it is called.
func TestGitBranchNames(t *testing.T) {
	c := newCheckout(t)
	c.commit()
	c.ctl("git", "enable", "--golden", "shop", "--ttl", "7d")
	branches := []string{
		"a/b", "a-b", "A-B", "ümläut/✓", "50%", "it's", `say"it"`, "a$(pwned)", "a;pwned", "a|b`pwned`", "-x"[1:] + "@y", "x.y", "x#y", "&&", strings.Repeat("n", 200),
	}
	seen := map[string]string{}
	for _, b := range branches {
		if out, code := c.try(c.dir, "git", "switch", "-q", "-c", b); code != 0 || strings.Contains(out, "no database") {
			t.Errorf("%s: exit %d: %s", b, code, out)
			continue
		}
		made := c.fake.creates[len(c.fake.creates)-1]
		if made.Branch != b || seen[made.Name] != "" || made.Golden != "shop" || made.Ttl.AsDuration() != 7*24*time.Hour {
			t.Errorf("for %q is made %v; seen %q", b, made, seen[made.Name])
		}
		seen[made.Name] = b
		if out := strings.TrimSpace(c.ctl("git", "status")); !strings.Contains(out, made.Name) {
			t.Errorf("%s: other commands mean another clone than %s: %s", b, made.Name, out)
		}
		if !strings.Contains(c.read(".env"), "# of branch "+b+".\n") {
			t.Errorf("%s: env %s", b, c.read(".env"))
		}
	}
	n := len(c.fake.creates)
	c.git("switch", "-q", "a/b")
	c.git("switch", "-q", "a-b")
	if len(c.fake.creates) != n {
		t.Errorf("made anew: %v", c.fake.creates[n:])
	}
}
