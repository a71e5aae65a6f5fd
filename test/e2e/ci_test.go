package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/cloned-db/cloned/test/harness"
)

// TestCI runs the pieces under deploy/ci as their platforms do: the scripts of
// the files themselves, with the variables that a job has.
func TestCI(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(500))
		psql := harness.BinDir(t) + "/psql"
		command := psql + ` -XAtc "SELECT 'orders: ' || (count(*) > 0) FROM orders" && ` + e.Bin + `/clonectl ls -o json > ` + e.Dir + `/during && exit 3`
		for name, job := range map[string]struct {
			script        ciScript
			branch, owner string // "" where the piece does not know it
			labels        map[string]string
		}{
			"github": {githubRun(t, "run", map[string]string{"run": command, "golden": "shop"}),
				"feature/x", "github/a/b", map[string]string{"ci.run": "1", "ci.job": "test"}},
			"gitlab": {gitlabScript(t, ".cloned", map[string]string{"CLONED_GOLDEN": "shop", "CLONED_COMMAND": command}),
				"main", "gitlab/a/b", map[string]string{"ci.run": "3", "ci.job": "2"}},
			"shell": {ciScript{argv: []string{harness.Repo(t, "deploy/ci/shell/cloned-run"), "sh", "-c", command}, env: []string{"CLONED_GOLDEN=shop", "BUILD_ID=7"}},
				"", "", map[string]string{"ci.run": "7"}},
		} {
			out, code := job.script.run(t, e)
			if code != 3 || !strings.Contains(out, "orders: true") {
				t.Errorf("%s: exit %d: %s", name, code, out)
			}
			var during []harness.Clone
			if raw, err := os.ReadFile(e.Dir + "/during"); err != nil || json.Unmarshal(raw, &during) != nil || len(during) != 1 {
				t.Fatalf("%s: the clone during the job: %s, %v", name, raw, err)
			}
			c := during[0]
			delete(c.Labels, "cloned/lease")
			if c.Branch != job.branch || job.owner != "" && c.Owner != job.owner || !maps.Equal(c.Labels, job.labels) {
				t.Errorf("%s: the clone is of branch %q, owner %q, with labels %v", name, c.Branch, c.Owner, c.Labels)
			}
			os.Remove(e.Dir + "/during")
			if list := e.List(); len(list) != 0 {
				t.Errorf("%s left %v", name, list)
			}
		}
		migration := psql + ` -Xqc "ALTER TABLE orders ADD COLUMN fixed boolean; SELECT pg_sleep(0.3)"`
		for name, script := range map[string]ciScript{
			"github": githubRun(t, "rehearse", map[string]string{"run": migration, "golden": "shop", "fail-on": "exclusive-lock>100ms"}),
			"gitlab": gitlabScript(t, ".cloned-rehearse", map[string]string{"CLONED_GOLDEN": "shop", "CLONED_COMMAND": migration, "CLONED_FAIL_ON": "exclusive-lock>100ms"}),
		} {
			out, code := script.run(t, e)
			comment, _ := os.ReadFile(e.Dir + "/rehearsal.md") // its text is looked at
			report, _ := os.ReadFile(e.Dir + "/rehearsal.json")
			if code != 5 || !strings.Contains(string(comment), "Not passed:") || !strings.Contains(string(report), `"broken": [`) {
				t.Errorf("%s: rehearse: exit %d: %s\n%s\n%s", name, code, out, comment, report)
			}
			if summary, err := os.ReadFile(e.Dir + "/summary"); name == "github" && string(summary) != string(comment) {
				t.Errorf("the job's summary: %s, %v", summary, err)
			}
			os.Remove(e.Dir + "/rehearsal.md")
		}
		bad := githubRun(t, "run", map[string]string{"run": "true", "golden": `x"; touch ` + e.Dir + `/pwned; "`})
		if out, code := bad.run(t, e); code != 2 && code != 3 {
			t.Errorf("a golden that is none: exit %d: %s", code, out)
		}
		if _, err := os.Stat(e.Dir + "/pwned"); err == nil {
			t.Error("an input is run as code")
		}
		e.CheckNothingLeft()
	})
}

// ciScript is a step of a job.
type ciScript struct{ argv, env []string }

// run runs it as in a job: with clonectl on the PATH, and what both platforms set.
func (s ciScript) run(t *testing.T, e *harness.Env) (out string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.argv[0], s.argv[1:]...)
	cmd.Env = append(os.Environ(), "PATH="+e.Bin+":"+os.Getenv("PATH"), "CLONED_HOST=unix://"+e.Socket,
		"GITHUB_REF_NAME=main", "GITHUB_HEAD_REF=feature/x", "GITHUB_REPOSITORY=a/b", "GITHUB_RUN_ID=1", "GITHUB_JOB=test", "GITHUB_STEP_SUMMARY="+e.Dir+"/summary",
		"CI_COMMIT_REF_NAME=main", "CI_PROJECT_PATH=a/b", "CI_PIPELINE_ID=3", "CI_JOB_ID=2")
	cmd.Env = append(cmd.Env, s.env...)
	cmd.Dir = e.Dir
	raw, _ := cmd.CombinedOutput() // its exit code is looked at
	return string(raw), cmd.ProcessState.ExitCode()
}

// githubRun reads a composite action's one step, with its inputs filled in as
// GitHub does: where they are named, and the defaults for the rest.
func githubRun(t *testing.T, action string, inputs map[string]string) ciScript {
	t.Helper()
	var file struct {
		Inputs map[string]struct {
			Required bool
			Default  string
		}
		Runs struct {
			Using string
			Steps []struct {
				Shell, Run string
				Env        map[string]string
			}
		}
	}
	readYAML(t, "deploy/ci/github/"+action+"/action.yml", &file)
	if len(file.Runs.Steps) != 1 || file.Runs.Using != "composite" || file.Runs.Steps[0].Shell != "bash" {
		t.Fatalf("%s: %+v", action, file.Runs)
	}
	step := file.Runs.Steps[0]
	if strings.Contains(step.Run, "${{") {
		t.Errorf("%s: an expression in a script can be code", action)
	}
	for name := range inputs {
		if _, ok := file.Inputs[name]; !ok {
			t.Errorf("%s has no input %s", action, name)
		}
	}
	// As GitHub runs "shell: bash".
	s := ciScript{argv: []string{"bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step.Run}}
	for variable, value := range step.Env {
		for name, input := range file.Inputs {
			given, ok := inputs[name]
			if !ok {
				given = input.Default
			}
			value = strings.ReplaceAll(value, "${{ inputs."+name+" }}", given)
		}
		if strings.Contains(value, "${{") {
			t.Errorf("%s: %s is %q, which names no input", action, variable, value)
		}
		s.env = append(s.env, variable+"="+value)
	}
	return s
}

// gitlabScript reads the script of a hidden job.
func gitlabScript(t *testing.T, name string, variables map[string]string) ciScript {
	t.Helper()
	var file map[string]struct {
		Variables map[string]string
		Script    []string
	}
	readYAML(t, "deploy/ci/gitlab/cloned.yml", &file)
	job := file[name]
	s := ciScript{argv: []string{"sh", "-ec", strings.Join(job.Script, "\n")}}
	for name, value := range job.Variables {
		if given, ok := variables[name]; ok {
			value = given
		}
		s.env = append(s.env, name+"="+value)
	}
	return s
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(harness.Repo(t, path))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
