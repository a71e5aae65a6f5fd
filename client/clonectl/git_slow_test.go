package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestGitSlowDaemon: a checkout waits for two seconds at most, and what takes
// longer is finished without it.
func TestGitSlowDaemon(t *testing.T) {
	c := newCheckout(t)
	c.commit()
	c.write(".env", "MINE=1\n", 0o640)
	c.ctl("git", "enable")
	c.git("switch", "-q", "-c", "first")
	timed := func(args ...string) string {
		t.Helper()
		begin := time.Now()
		out := c.git(args...)
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("git %v took %v", args, took)
		}
		return out
	}
	c.fake.delay = 3 * time.Second
	out := timed("switch", "-c", "slow")
	if !strings.Contains(out, "takes a while; its address comes into .env") {
		t.Errorf("switch: %s", out)
	}
	if env := c.read(".env"); strings.Contains(env, "DATABASE_URL") || !strings.HasPrefix(env, "MINE=1\n") {
		t.Errorf("meanwhile the env is %s", env)
	}
	deadline := time.Now().Add(20 * time.Second)
	for !strings.Contains(c.read(".env"), "# clone slow\n") {
		if time.Now().After(deadline) {
			t.Fatalf("the env is %s", c.read(".env"))
		}
		time.Sleep(20 * time.Millisecond) // an interval of looking
	}
	if info, err := os.Stat(filepath.Join(c.dir, ".env")); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	t.Setenv("CLONED_HOST", "unix:///nonexistent/socket")
	if out := timed("switch", "-c", "absent"); !strings.Contains(out, "this branch has no database") || !strings.Contains(out, "clonectl git sync") {
		t.Errorf("without a daemon: %s", out)
	}
	// One that takes connections and says nothing.
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("CLONED_HOST", "unix://"+socket)
	timed("switch", "-c", "hanging")
	if env := c.read(".env"); strings.Contains(env, "DATABASE_URL") {
		t.Errorf("the env still names another branch's clone: %s", env)
	}
}

// TestGitSlowGit: not even a git that hangs makes a checkout wait.
func TestGitSlowGit(t *testing.T) {
	c := newCheckout(t)
	c.commit()
	c.ctl("git", "enable")
	real, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	// What clonectl runs waits, and leaves a process that has its output open.
	bin := t.TempDir()
	slow := fmt.Sprintf("#!/bin/sh\nif [ -n \"$SLOW\" ]; then touch %s/asked; sleep 20 & wait; fi\nexec %s \"$@\"\n", c.dir, real)
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte(slow), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	hook := c.read(".git/hooks/post-checkout")
	c.write(".git/hooks/post-checkout", strings.Replace(hook, "#!/bin/sh\n", "#!/bin/sh\nPATH="+bin+":$PATH SLOW=1\nexport PATH SLOW\n", 1), 0o755)
	begin := time.Now()
	cmd := exec.Command(real, "switch", "-c", "b")
	cmd.Dir = c.dir
	out, err := cmd.CombinedOutput()
	if took := time.Since(begin); err != nil || took > 2*time.Second {
		t.Errorf("it took %v: %v: %s", took, err, out)
	}
	if !exists(filepath.Join(c.dir, "asked")) || !strings.Contains(string(out), "takes a while; its address comes into the env file") {
		t.Errorf("git did not hang: %s", out)
	}
}
