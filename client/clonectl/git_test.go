package main

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// checkout is a repository of a test, with a daemon.
type checkout struct {
	t    *testing.T
	dir  string
	fake *fake
	host string
}

func newCheckout(t *testing.T) *checkout {
	t.Helper()
	f, host := serve(t)
	c := &checkout{t: t, dir: t.TempDir(), fake: f, host: host}
	t.Setenv("CLONECTL_TEST", "1")
	t.Setenv("CLONED_HOST", host)
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_SYSTEM", os.DevNull)
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		t.Setenv("GIT_"+who+"_NAME", "t")
		t.Setenv("GIT_"+who+"_EMAIL", "t@example.com")
	}
	c.git("init", "-q", "-b", "main")
	t.Cleanup(c.endBackground)
	return c
}

// endBackground ends what a checkout has left to be done and is not done yet: it
// would write into a directory that is being removed.
func (c *checkout) endBackground() {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := 0
		links, _ := filepath.Glob("/proc/[0-9]*/cwd") // a pattern that is well-formed
		for _, link := range links {
			dir, err := os.Readlink(link)
			pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
			if err != nil || pid == os.Getpid() || dir != c.dir && !strings.HasPrefix(dir, c.dir+"/") {
				continue // it is another's, or has ended
			}
			left++
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Kill() // it may just have ended
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			c.t.Errorf("%d processes go on in %s", left, c.dir)
			return
		}
	}
}

// try runs a command in a directory of the test's.
func (c *checkout) try(dir string, argv ...string) (out string, code int) {
	c.t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	raw, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		c.t.Fatal(err)
	}
	return string(raw), cmd.ProcessState.ExitCode()
}

func (c *checkout) git(args ...string) string {
	c.t.Helper()
	out, code := c.try(c.dir, append([]string{"git"}, args...)...)
	if code != 0 {
		c.t.Fatalf("git %v: exit %d: %s", args, code, out)
	}
	return out
}

func (c *checkout) ctl(args ...string) string {
	c.t.Helper()
	out, code := c.try(c.dir, append([]string{os.Args[0]}, args...)...)
	if code != 0 {
		c.t.Fatalf("clonectl %v: exit %d: %s", args, code, out)
	}
	return out
}

func (c *checkout) commit() {
	c.t.Helper()
	c.git("commit", "-q", "--allow-empty", "-m", rand.Text()) // no two are alike
}

func (c *checkout) write(name, content string, mode os.FileMode) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		c.t.Fatal(err)
	}
}

func (c *checkout) read(name string) string {
	c.t.Helper()
	raw, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(raw)
}

func TestGitHook(t *testing.T) {
	c := newCheckout(t)
	if out := c.ctl("git", "enable"); !strings.Contains(out, "enabled in") || !strings.Contains(out, "does not ignore .env") {
		t.Errorf("enable: %s", out)
	}
	c.commit()
	c.write(".gitignore", ".env\n", 0o644)
	if out := c.ctl("git", "enable"); !strings.Contains(out, "was enabled") || strings.Contains(out, "warning") {
		t.Errorf("enabled twice: %s", out)
	}
	out := c.git("switch", "-c", "hotfix/1042")
	if !strings.Contains(out, "cloned: this branch's database is hotfix-1042") {
		t.Errorf("switch: %s", out)
	}
	env := c.read(".env")
	for _, want := range []string{"# >>> cloned\n", "# clone hotfix-1042\n", "DATABASE_URL=", "# <<< cloned\n"} {
		if !strings.Contains(env, want) {
			t.Errorf("no %q in %s", want, env)
		}
	}
	if info, err := os.Stat(filepath.Join(c.dir, ".env")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	made := c.fake.creates[0]
	if made.Branch != "hotfix/1042" || made.Labels[repoLabel] == "" {
		t.Errorf("made %v", made)
	}
	// It is there already, and a file's checkout is none of a branch.
	c.git("switch", "-q", "main")
	c.git("switch", "-q", "hotfix/1042")
	n := len(c.fake.creates)
	c.write("f", "x", 0o644)
	c.git("add", "f")
	c.commit()
	c.write("f", "y", 0o644)
	c.git("checkout", "-q", "--", "f")
	c.git("checkout", "-q", "--detach")
	if len(c.fake.creates) != n || c.read(".env") != env {
		t.Errorf("%d clones made, env %s", len(c.fake.creates), c.read(".env"))
	}
	// The name goes to all commands.
	c.git("switch", "-q", "hotfix/1042")
	if out := c.ctl("url"); !strings.HasPrefix(out, "postgresql://") {
		t.Errorf("url: %s", out)
	}
	if out := c.ctl("git", "disable"); !strings.Contains(out, "disabled") {
		t.Errorf("disable: %s", out)
	}
	if c.read(".env") != "" || exists(filepath.Join(c.dir, ".git/hooks/post-checkout")) {
		t.Errorf("left: %s", c.read(".env"))
	}
	if out := c.ctl("git", "disable"); !strings.Contains(out, "was not enabled") {
		t.Errorf("disabled twice: %s", out)
	}
}

// TestGitNoCommits: a branch without a commit gets a clone only if it is asked
// for, and prune does not take that away.
func TestGitNoCommits(t *testing.T) {
	c := newCheckout(t)
	c.ctl("git", "enable")
	if out := c.ctl("git", "sync"); !strings.Contains(out, "main: main in .env") || !strings.Contains(c.read(".env"), "# clone main\n") {
		t.Errorf("sync in a repository without commits: %s", out)
	}
	for _, args := range [][]string{{"prune"}, {"prune", "--dry-run"}} {
		if out := c.ctl(args...); !strings.Contains(out, "nothing to remove") || c.fake.clones["main"] == nil {
			t.Errorf("%v in a repository without commits: %s", args, out)
		}
	}
	if out, code := c.try(c.dir, os.Args[0], "prune", "--merged"); code != 5 || c.fake.clones["main"] == nil {
		t.Errorf("prune --merged where nothing can be merged: exit %d: %s", code, out)
	}
	c.commit()
	// Git runs the hook for this, with a new commit that is none.
	c.write(".git/hooks/post-checkout.before-cloned", "#!/bin/sh\necho \"from $1 to $2\" > ran\n", 0o755)
	n := len(c.fake.creates)
	if out := c.git("switch", "--orphan", "apart"); strings.Contains(out, "database") || len(c.fake.creates) != n {
		t.Errorf("before its first commit a branch gets a clone: %s %v", out, c.fake.creates[n:])
	}
	if ran := c.read("ran"); !strings.HasSuffix(ran, strings.Repeat("0", 40)+"\n") {
		t.Errorf("the hook ran with: %s", ran)
	}
	if env := c.read(".env"); strings.Contains(env, "DATABASE_URL") {
		t.Errorf("the env still names another branch's clone: %s", env)
	}
	c.ctl("git", "sync")
	if out := c.ctl("prune", "--merged"); !strings.Contains(out, "nothing to remove") || c.fake.clones["apart"] == nil {
		t.Errorf("the clone of the branch that is checked out: %s", out)
	}
	c.git("switch", "-q", "main")
	if out := c.ctl("prune"); !strings.Contains(out, "apart removed") {
		t.Errorf("of a branch that never was: %s", out)
	}
}

// TestGitResume: a checkout resumes the branch's clone.
func TestGitResume(t *testing.T) {
	c := newCheckout(t)
	c.commit()
	c.ctl("git", "enable")
	c.git("switch", "-q", "-c", "side")
	c.git("switch", "-q", "main")
	n := len(c.fake.creates)
	c.fake.clones["side"].State = clonedv1.CloneState_CLONE_STATE_SUSPENDED
	if out := c.git("switch", "side"); !strings.Contains(out, "database is side") || !strings.Contains(c.read(".env"), "# clone side\n") {
		t.Errorf("switch: %s", out)
	}
	if !slices.Equal(c.fake.resumes, []string{"side"}) || len(c.fake.creates) != n {
		t.Errorf("resumed %v, made %v", c.fake.resumes, c.fake.creates[n:])
	}
}

// TestGitChainedHook: the hook that was there goes on being run as before, and is
// back as it was in the end.
func TestGitChainedHook(t *testing.T) {
	for what, test := range map[string]struct {
		hook string
		mode os.FileMode
		runs bool
		code int
	}{
		"good":           {"#!/bin/sh\necho \"ran $# $3\" >> ran; exit 0\n", 0o755, true, 0},
		"failing":        {"#!/bin/sh\necho ran >> ran; exit 9\n", 0o700, true, 1},
		"not executable": {"#!/bin/sh\necho ran >> ran\n", 0o644, false, 0},
		"broken":         {"#!/no/such/interpreter\n", 0o755, false, 1},
	} {
		t.Run(what, func(t *testing.T) {
			c := newCheckout(t)
			c.commit()
			c.write(".git/hooks/post-checkout", test.hook, test.mode)
			c.ctl("git", "enable")
			c.ctl("git", "enable")
			out, code := c.try(c.dir, "git", "switch", "-c", "b")
			if code != test.code { // git makes 1 of whatever a hook ends with
				t.Errorf("exit %d: %s", code, out)
			}
			if ran := exists(filepath.Join(c.dir, "ran")); ran != test.runs {
				t.Errorf("it ran: %v: %s", ran, out)
			}
			if len(c.fake.creates) != 1 {
				t.Errorf("ours did not run: %s", out)
			}
			c.ctl("git", "disable")
			info, err := os.Stat(filepath.Join(c.dir, ".git/hooks/post-checkout"))
			if err != nil || info.Mode().Perm() != test.mode || c.read(".git/hooks/post-checkout") != test.hook {
				t.Errorf("it came back as %v, %v", info, err)
			}
		})
	}
}

func TestGitSharedHooks(t *testing.T) {
	c := newCheckout(t)
	c.git("config", "core.hooksPath", t.TempDir())
	out, code := c.try(c.dir, os.Args[0], "git", "enable")
	if code != 5 || !strings.Contains(out, "core.hooksPath") {
		t.Errorf("exit %d: %s", code, out)
	}
	c.git("config", "core.hooksPath", ".githooks")
	c.ctl("git", "enable")
	if !exists(filepath.Join(c.dir, ".githooks/post-checkout")) {
		t.Error("not where Git looks")
	}
}

// TestGitWorktrees: each has an env file of its own.
func TestGitWorktrees(t *testing.T) {
	c := newCheckout(t)
	c.commit()
	c.ctl("git", "enable", "--env-file", "conf/local.env")
	c.write("conf/keep", "x", 0o644)
	c.git("add", "conf/keep")
	c.commit()
	other := filepath.Join(t.TempDir(), "other")
	c.git("worktree", "add", "-q", other, "-b", "side")
	raw, err := os.ReadFile(filepath.Join(other, "conf/local.env"))
	if err != nil || !strings.Contains(string(raw), "# clone side\n") {
		t.Errorf("env %s, %v", raw, err)
	}
	c.git("switch", "-q", "-c", "mine")
	if env := c.read("conf/local.env"); !strings.Contains(env, "# clone mine\n") {
		t.Errorf("env %s", env)
	}
	if now, err := os.ReadFile(filepath.Join(other, "conf/local.env")); err != nil || string(now) != string(raw) {
		t.Errorf("the other worktree's env changed to %s, %v", now, err)
	}
	if out, code := c.try(other, os.Args[0], "git", "disable"); code != 0 {
		t.Errorf("disable: %s", out)
	}
	if c.read("conf/local.env") != "" {
		t.Errorf("left: %s", c.read("conf/local.env"))
	}
}
