package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEnvBlock(t *testing.T) {
	lines := []string{"A=1", "B=2"}
	for _, before := range []string{"", "X=1\n", "X=1", "X=1\r\nY=2\r\n", "X=1\r\nY=2", "\n\n", "\ufeffX=1\n", "X='a\n# not a block'\n"} {
		with, err := putBlock([]byte(before), lines)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(with), before) || !strings.Contains(string(with), "A=1") {
			t.Errorf("%q became %q", before, with)
		}
		changed, err := putBlock(with, []string{"C=3"})
		if err != nil || strings.Contains(string(changed), "A=1") || !strings.Contains(string(changed), "C=3") || !strings.HasPrefix(string(changed), before) {
			t.Errorf("%q became %q, %v", with, changed, err)
		}
		without, err := putBlock(changed, nil)
		if err != nil || string(without) != before {
			t.Errorf("%q came back as %q, %v", before, without, err)
		}
		again, err := putBlock(append(with, "AFTER=1"...), lines)
		if err != nil || string(again) != string(with)+"AFTER=1" {
			t.Errorf("what is after the block: %q, %v", again, err)
		}
	}
	for _, bad := range []string{"# >>> cloned\nA=1\n", "# <<< cloned\n", "# >>> cloned\n# >>> cloned\n# <<< cloned\n"} {
		if got, err := putBlock([]byte(bad), lines); err == nil {
			t.Errorf("%q became %q", bad, got)
		}
	}
}

// TestEnvFileOutside: what leads out of the worktree is refused.
func TestEnvFileOutside(t *testing.T) {
	c := newCheckout(t)
	c.commit()
	outside := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(outside, []byte("X=1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"../env", outside, ".git/config", ""} {
		if out, code := c.try(c.dir, os.Args[0], "git", "enable", "--env-file", file); code != 2 {
			t.Errorf("%q: exit %d: %s", file, code, out)
		}
	}
	if err := os.Symlink(outside, filepath.Join(c.dir, ".env")); err != nil {
		t.Fatal(err)
	}
	if out, code := c.try(c.dir, os.Args[0], "git", "enable"); code != 2 {
		t.Errorf("a link: exit %d: %s", code, out)
	}
	if raw, err := os.ReadFile(outside); err != nil || string(raw) != "X=1\n" {
		t.Errorf("it was written to: %s, %v", raw, err)
	}
	// One that leads to a file of the worktree stays a link.
	c.write("shared.env", "Y=1\n", 0o644)
	os.Remove(filepath.Join(c.dir, ".env"))
	if err := os.Symlink("shared.env", filepath.Join(c.dir, ".env")); err != nil {
		t.Fatal(err)
	}
	c.ctl("git", "enable")
	c.git("switch", "-q", "-c", "b")
	if info, err := os.Lstat(filepath.Join(c.dir, ".env")); err != nil || info.Mode()&os.ModeSymlink == 0 || !strings.HasPrefix(c.read("shared.env"), "Y=1\n# >>> cloned\n") {
		t.Errorf("%v, %v, %s", info, err, c.read("shared.env"))
	}
}
