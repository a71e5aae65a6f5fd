package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/test/harness"
)

var urlOf = regexp.MustCompile(`(?m)^DATABASE_URL="?([^"\n]*)`)

// TestGitBranches: whatever Git allows as the name of a branch, its clone is there
// when the branch is checked out, and goes when the branch is pruned.
func TestGitBranches(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(200))
		dir := filepath.Join(e.Dir, "repo")
		try := func(argv ...string) (out string, err error) {
			cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "CLONED_HOST=unix://"+e.Socket, "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull,
				"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.com", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.com")
			raw, err := cmd.CombinedOutput()
			return string(raw), err
		}
		run := func(argv ...string) string {
			t.Helper()
			out, err := try(argv...)
			if err != nil {
				t.Fatalf("%q: %v: %s", argv, err, out)
			}
			return out
		}
		ctl := e.Bin + "/clonectl"
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		run("git", "init", "-q", "-b", "main")
		run("git", "commit", "-q", "--allow-empty", "-m", "x")
		run(ctl, "git", "enable")
		branches := []string{
			"a\u00a0", "a", "\xff\xfe", "\u0085\u009f", strings.Repeat("long/", 80) + "x", strings.Repeat("ö", 120) + "/" + strings.Repeat("ö", 120),
			`!"#$%&'()+,-;<=>@]_{|}` + "`",
		}
		names := map[string]bool{}
		for _, b := range branches {
			run("git", "switch", "-q", "-c", b)
			run(ctl, "git", "sync") // if the machine was too slow for the hook
			env, err := os.ReadFile(filepath.Join(dir, ".env"))
			if err != nil {
				t.Fatal(err)
			}
			url := urlOf.FindSubmatch(env)
			if url == nil || !strings.Contains(string(env), "# of branch "+b+".\n") || harness.QueryInt(t, string(url[1]), "SELECT count(*) FROM orders") == 0 {
				t.Errorf("%q: env %s", b, env)
			}
			names[run(ctl, "url")] = true
		}
		if len(names) != len(branches) {
			t.Errorf("%d branches have %d clones: %v", len(branches), len(names), names)
		}
		run("git", "switch", "-q", "main")
		run(ctl, "git", "sync")
		if out := run(ctl, "prune"); !strings.Contains(out, "nothing to remove") {
			t.Errorf("branches that are there: %s", out)
		}
		run(append([]string{"git", "branch", "-q", "-D"}, branches...)...)
		if out := run(ctl, "prune", "--now", "-o", "name"); strings.Count(out, "\n") != len(branches) {
			t.Errorf("of %d branches that are gone: %s", len(branches), out)
		}
		e.Ctl("rm", "--now", "main")
		e.CheckNothingLeft()
	})
}
