package main

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

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
