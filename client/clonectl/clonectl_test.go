package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/errs"
)

func TestNameOfBranch(t *testing.T) {
	for branch, want := range map[string]string{ // a want that ends with "-" is followed by a digest
		"main":                            "main",
		"hotfix/1042":                     "hotfix-1042",
		"feature/a/b":                     "feature-a-b",
		"Fix":                             "fix-",
		"a..b":                            "a-b-",
		strings.Repeat("long/", 40) + "x": strings.Repeat("long-", 10),
	} {
		got := nameOfBranch(branch)
		if strings.HasSuffix(want, "-") {
			if !strings.HasPrefix(got, want) || len(got) <= len(want) {
				t.Errorf("%q: %q, want %q and a digest", branch, got, want)
			}
		} else if got != want {
			t.Errorf("%q: %q, want %q", branch, got, want)
		}
	}
}

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

func FuzzNameOfBranch(f *testing.F) {
	for _, seed := range []string{"main", "hotfix/1042", "-", "/", "ÄÖÜ", strings.Repeat("a", 300), "a--b", "A"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, branch string) {
		if branch == "" {
			t.Skip("no branch has that name")
		}
		name := nameOfBranch(branch)
		if len(name) > maxName || !validName.MatchString(name) {
			t.Errorf("%q gives %q", branch, name)
		}
		if lower := strings.ToLower(branch); lower != branch && nameOfBranch(lower) == name {
			t.Errorf("%q and %q both give %q", branch, lower, name)
		}
	})
}

func TestCreate(t *testing.T) {
	f, host := serve(t)
	out, stderr, code := ctl(t, host, "create", "a", "--label", "pr=7", "--owner", "me")
	if code != 0 || !strings.HasPrefix(out, "a created in ") || !strings.Contains(out, "postgresql://cloned:") {
		t.Errorf("exit %d: %s%s", code, out, stderr)
	}
	if c := f.clones["a"]; c.Labels["pr"] != "7" || c.Golden != "shop" || c.Owner != "me" {
		t.Errorf("asked for %+v", c)
	}
	if out, _, _ := ctl(t, host, "create", "a", "-o", "url"); out != f.clones["a"].Endpoint.Url+"\n" {
		t.Errorf("-o url: %s", out)
	}
	out, _, _ = ctl(t, host, "show", "a", "-o", "json")
	var c struct {
		Name     string
		State    string
		Endpoint struct{ Port int }
	}
	if err := json.Unmarshal([]byte(out), &c); err != nil || c.Name != "a" || c.State != "CLONE_STATE_READY" || c.Endpoint.Port != 20001 {
		t.Errorf("%v: %s", err, out)
	}
}

// TestBranch takes name and branch from a Git checkout, in a worktree too.
func TestBranch(t *testing.T) {
	f, host := serve(t)
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=x", "-c", "user.email=x@example.com"}, args...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	git("init", "-q", "-b", "hotfix/1042")
	t.Chdir(dir)
	if _, stderr, code := ctl(t, host, "create"); code != 0 || f.clones["hotfix-1042"] == nil {
		t.Errorf("exit %d: %s", code, stderr)
	}
	git("commit", "-q", "--allow-empty", "-m", "x")
	git("worktree", "add", "-q", "-b", "dev", "tree")
	t.Chdir(filepath.Join(dir, "tree"))
	if _, stderr, code := ctl(t, host, "create"); code != 0 || f.clones["dev"] == nil {
		t.Errorf("exit %d: %s", code, stderr)
	}
	git("-C", "tree", "checkout", "-q", "--detach")
	if _, stderr, code := ctl(t, host, "create"); code != 2 || !strings.Contains(stderr, "detached") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	t.Chdir(t.TempDir())
	if _, stderr, code := ctl(t, host, "create"); code != 2 || !strings.Contains(stderr, "hint: name the clone") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

// TestExitCodes checks that each kind of error has its code, and that message,
// hint, phase and the database's log are printed.
func TestExitCodes(t *testing.T) {
	f, host := serve(t)
	for _, kind := range errs.Kinds() {
		e := errs.New(kind, "TESTED", "what is wrong").WithHint("do this").WithPhase("start").WithLog([]string{"FATAL: out of luck"})
		e.Retryable = false
		f.fail = e
		_, stderr, code := ctl(t, host, "create", "a")
		if code != exitCodes[kind] {
			t.Errorf("%v: exit %d, want %d", kind, code, exitCodes[kind])
		}
		if kind == errs.Internal {
			if !strings.Contains(stderr, "req-1") {
				t.Errorf("no request ID: %s", stderr)
			}
			continue
		}
		for _, want := range []string{"error: what is wrong", "hint: do this", "phase: start", "| FATAL: out of luck"} {
			if !strings.Contains(stderr, want) {
				t.Errorf("%v: no %q in %s", kind, want, stderr)
			}
		}
	}
}

func TestUsage(t *testing.T) {
	f, host := serve(t)
	f.put("a")
	for _, args := range [][]string{
		{"nosuch"}, {"create", "a", "b"}, {"create", "--nosuch"}, {"create", ""}, {"create", "a", "--label", "x"},
		{"create", "a", "--ttl", "soon"}, {"create", "a", "--ttl", "-5m"}, {"ls", "-o", "yaml"}, {"ls", "--state", "odd"},
		{"rm"}, {"rm", "a", "-l", "x=y"}, {"golden", "nosuch"}, {"golden", "create", "g"}, {"extend", "a", "x"},
		{"golden", "create", "g", "--from-directory", "/a", "--from-server", "b"}, {"golden", "create", "g", "--from-directory", "./a"},
		{"golden", "create", "g", "--from-directory", "/a", "--memory", "lots"}, {"env", "a", "--format", "odd"}, {"logs", "a", "--tail", "-1"},
		{"reset", "a", "--to", "x", "--newest"}, {"run"}, {"status", "--timeout", "-1s"},
	} {
		if _, stderr, code := ctl(t, host, args...); code != 2 || !strings.HasPrefix(stderr, "error: ") {
			t.Errorf("%v: exit %d, want 2: %s", args, code, stderr)
		}
	}
}

func TestSeveralGoldens(t *testing.T) {
	f, host := serve(t)
	f.goldens = []string{"crm", "shop"}
	if _, stderr, code := ctl(t, host, "create", "a"); code != 2 || !strings.Contains(stderr, "crm, shop") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	f.goldens = nil
	if _, stderr, code := ctl(t, host, "create", "a"); code != 5 || !strings.Contains(stderr, "golden create") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestList(t *testing.T) {
	f, host := serve(t)
	f.put("a").Labels = map[string]string{"pr": "7"}
	f.put("b").Protect = true
	out, _, _ := ctl(t, host, "ls")
	want := "NAME  GOLDEN  BRANCH  STATE            ADDRESS          AGE  EXPIRES  OWNER\n" +
		"a     shop    b/a     ready            127.0.0.1:20001  3m   never    -\n" +
		"b     shop    b/b     ready,protected  127.0.0.1:20001  3m   never    -\n"
	if out != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
	if out, _, _ := ctl(t, host, "ls", "-o", "name", "-l", "pr=7"); out != "a\n" {
		t.Errorf("selected %q", out)
	}
	if out, _, _ := ctl(t, host, "ls", "-o", "json", "-l", "pr=none"); out != "[]\n" {
		t.Errorf("no clones as JSON: %q", out)
	}
}

func TestEnvQuotes(t *testing.T) {
	f, host := serve(t)
	f.put("a")
	for format, want := range map[string]string{
		"shell": `export PGPASSWORD='p'\''w$'`, "fish": `set -gx PGPASSWORD 'p\'w$'`,
		"powershell": `$env:PGPASSWORD = 'p''w$'`, "dotenv": `PGPASSWORD="p'w\$"`, "json": `"PGPASSWORD": "p'w$"`,
	} {
		if out, _, _ := ctl(t, host, "env", "a", "--format", format); !strings.Contains(out, want) {
			t.Errorf("%s: no %s in %s", format, want, out)
		}
	}
	out, _, _ := ctl(t, host, "env", "a")
	got, err := exec.Command("sh", "-c", out+`printf %s "$PGPASSWORD"`).Output()
	if err != nil || string(got) != "p'w$" {
		t.Errorf("a shell reads %q, %v", got, err)
	}
}

func TestRun(t *testing.T) {
	f, host := serve(t)
	out, stderr, code := ctl(t, host, "run", "--", "sh", "-c", `echo "$PGPORT $PGDATABASE $DATABASE_URL"; exit 42`)
	if code != 42 || !strings.HasPrefix(out, "20001 shop postgresql://") {
		t.Errorf("exit %d: %s%s", code, out, stderr)
	}
	if _, _, code := ctl(t, host, "run", "--", "sh", "-c", "kill -TERM $$"); code != 128+15 {
		t.Errorf("killed by SIGTERM: exit %d", code)
	}
	if _, stderr, code := ctl(t, host, "run", "--", "/no/such/command"); code != 2 || !strings.Contains(stderr, "/no/such/command") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if len(f.clones) != 0 {
		t.Errorf("clones are left: %v", f.clones)
	}
}

func TestRemove(t *testing.T) {
	f, host := serve(t)
	f.put("a").Labels = map[string]string{"pr": "7"}
	f.put("b").Labels = map[string]string{"pr": "7"}
	f.clones["b"].Protect = true
	f.put("c")
	if _, stderr, code := ctl(t, host, "rm", "-l", "pr=7"); code != 5 || !strings.Contains(stderr, "--yes") || len(f.clones) != 3 {
		t.Errorf("not asked: exit %d: %s", code, stderr)
	}
	if out, stderr, code := ctl(t, host, "rm", "-l", "pr=7", "--yes"); code != 5 || out != "a removed\n" || !strings.Contains(stderr, "protected, and still there: b") {
		t.Errorf("exit %d: %s%s", code, out, stderr)
	}
	if out, _, code := ctl(t, host, "rm", "nosuch", "c"); code != 3 || out != "c removed\n" {
		t.Errorf("exit %d: %s", code, out)
	}
}

func TestUpdate(t *testing.T) {
	f, host := serve(t)
	f.put("a")
	for _, args := range [][]string{{"protect", "a"}, {"unprotect", "a"}, {"extend", "a", "7d"}, {"extend", "a", "never"}, {"label", "a", "x=y", "z-"}} {
		if _, stderr, code := ctl(t, host, args...); code != 0 {
			t.Errorf("%v: exit %d: %s", args, code, stderr)
		}
	}
	if u := f.updates[0]; !u.Protect || u.UpdateMask.Paths[0] != "protect" {
		t.Errorf("protect: %v", u)
	}
	if u := f.updates[1]; u.Protect || u.UpdateMask.Paths[0] != "protect" {
		t.Errorf("unprotect: %v", u)
	}
	if u := f.updates[2]; u.Ttl.AsDuration() != 7*24*time.Hour || u.UpdateMask.Paths[0] != "ttl" {
		t.Errorf("extend: %v", u)
	}
	if u := f.updates[3]; u.Ttl != nil || u.UpdateMask.Paths[0] != "ttl" {
		t.Errorf("extend never: %v", u)
	}
	if u := f.updates[4]; u.SetLabels["x"] != "y" || u.RemoveLabels[0] != "z" {
		t.Errorf("label: %v", u)
	}
}

func TestGoldenCreate(t *testing.T) {
	_, host := serve(t)
	out, stderr, code := ctl(t, host, "golden", "create", "shop", "--from-directory", "/srv/data")
	if code != 0 || !strings.HasPrefix(out, "golden shop: snapshot snap1 of 1.0 GiB, PostgreSQL 15, made in ") {
		t.Errorf("exit %d: %s", code, out)
	}
	if want := "phase0 1.0 MiB of 4.0 MiB (25%)\nphase1 "; !strings.HasPrefix(stderr, want) || strings.ContainsAny(stderr, "\r\x1b") {
		t.Errorf("progress: %q", stderr)
	}
}

func TestCompletion(t *testing.T) {
	f, host := serve(t)
	f.put("a")
	for args, want := range map[string]string{
		"show ":            "a\tshop, ready",
		"create --golden ": "shop",
		"rm ":              "a\tshop, ready",
	} {
		fields := strings.Split(args, " ")
		if out, _, _ := ctl(t, host, append([]string{"__complete"}, fields...)...); !strings.Contains(out, want) {
			t.Errorf("%q: no %q in %s", args, want, out)
		}
	}
	if out, stderr, code := ctl(t, "unix:///nonexistent", "__complete", "show", ""); code != 0 || strings.Contains(out+stderr, "error") {
		t.Errorf("without a daemon: exit %d: %s%s", code, out, stderr)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, _, code := ctl(t, host, "completion", shell); code != 0 || !strings.Contains(out, "clonectl") {
			t.Errorf("%s: exit %d", shell, code)
		}
	}
}

// TestHelp sees to it that every command has an example.
func TestHelp(t *testing.T) {
	var walk func(prefix []string)
	walk = func(prefix []string) {
		root := newRoot(&app{})
		cmd, _, err := root.Find(prefix)
		if err != nil {
			t.Fatal(err)
		}
		for _, sub := range cmd.Commands() {
			if sub.Name() == "help" || sub.Name() == "completion" {
				continue
			}
			if !sub.HasSubCommands() && sub.Example == "" {
				t.Errorf("%s has no example", sub.CommandPath())
			}
			walk(append(prefix[:len(prefix):len(prefix)], sub.Name()))
		}
	}
	walk(nil)
}

func TestNoDaemon(t *testing.T) {
	if _, stderr, code := ctl(t, "unix:///nonexistent/socket", "ls"); code != 8 || !strings.Contains(stderr, "hint: start it") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if os.Getenv("CLONED_HOST") == "" {
		t.Setenv("CLONED_HOST", "nonsense")
	}
	if _, stderr, code := ctl(t, "", "ls"); code == 0 {
		t.Errorf("a bad address works: %s", stderr)
	}
}
