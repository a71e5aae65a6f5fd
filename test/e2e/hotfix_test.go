package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/test/harness"
)

// shell is a developer's terminal in a checkout; what is typed and what comes
// back is written down.
type shell struct {
	t   *testing.T
	dir string
	env []string
	log strings.Builder
}

// run types a line, which must succeed, and returns what it prints.
func (s *shell) run(line string) string {
	s.t.Helper()
	out, code := s.try(line)
	if code != 0 {
		s.t.Fatalf("%s: exit %d: %s", line, code, out)
	}
	return out
}

// try types a line.
func (s *shell) try(line string) (out string, code int) {
	cmd := exec.CommandContext(s.t.Context(), "bash", "-c", line)
	cmd.Dir, cmd.Env = s.dir, s.env
	raw, _ := cmd.CombinedOutput() // its exit code is looked at
	code = cmd.ProcessState.ExitCode()
	fmt.Fprintf(&s.log, "$ %s\n%s", line, raw)
	if code != 0 {
		fmt.Fprintf(&s.log, "[exit %d]\n", code)
	}
	return string(raw), code
}

// say notes what the next lines are about.
func (s *shell) say(text string) { fmt.Fprintf(&s.log, "\n## %s\n\n", text) }

// migration writes one, and shows it.
func (s *shell) migration(name, sql string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "migrations", name+".sql"), []byte(sql+"\n"), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.run("cat migrations/" + name + ".sql")
}

// onBranch switches. The env file names the branch's clone when the prompt is
// back, unless the hook has said that it takes longer.
func (s *shell) onBranch(line, clone string) {
	s.t.Helper()
	said := s.run(line)
	named := func() error {
		env, err := os.ReadFile(filepath.Join(s.dir, ".env"))
		if err == nil && !strings.Contains(string(env), "# clone "+clone+"\n") {
			err = fmt.Errorf("the env file is %q", env)
		}
		return err
	}
	switch {
	case strings.Contains(said, "this branch's database takes a while"):
		harness.Eventually(s.t, 2*time.Minute, "the clone of the branch is there", named)
	case !strings.Contains(said, "this branch's database is "+clone+"\n"):
		s.t.Errorf("%s: %s", line, said)
	default:
		if err := named(); err != nil {
			s.t.Errorf("%s: %v", line, err)
		}
	}
}

// TestHotfix is how a hotfix goes to production while development is in flux:
// docs/hotfix.md. With CLONED_E2E_TRANSCRIPT the terminal's text is left there.
func TestHotfix(t *testing.T) {
	eachWith(t, "undo=24h", func(t *testing.T, e *harness.Env) {
		prod := harness.InitServer(t, e.Dir+"/prod")
		prod.Start()
		prod.LoadShop(scale(20_000))
		prod.StartLoad()
		e.Start()
		e.WritePassword(prod.Password)
		s := &shell{t: t, dir: filepath.Join(e.Dir, "shop")}
		s.env = append(os.Environ(), "PATH="+e.Bin+":"+harness.BinDir(t)+":"+os.Getenv("PATH"), "CLONED_HOST=unix://"+e.Socket, "NO_COLOR=1",
			"PRODUCTION="+prod.URL("shop"), "SOURCE="+prod.ConnInfo(), "PASSWORD_FILE="+e.PasswordFile(),
			"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull, "GIT_ADVICE=0",
			"GIT_AUTHOR_NAME=ann", "GIT_AUTHOR_EMAIL=ann@example.com", "GIT_COMMITTER_NAME=ann", "GIT_COMMITTER_EMAIL=ann@example.com")
		if path := os.Getenv("CLONED_E2E_TRANSCRIPT"); path != "" {
			defer func() {
				if err := os.WriteFile(path, []byte(s.log.String()), 0o644); err != nil {
					t.Error(err)
				}
			}()
		}
		if out, err := exec.Command("cp", "-r", harness.Repo(t, "scripts/shop/repo"), s.dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		column := func(url, table, name string) bool {
			t.Helper()
			return harness.QueryInt(t, url, fmt.Sprintf("SELECT count(*) FROM information_schema.columns WHERE table_name = '%s' AND column_name = '%s'", table, name)) == 1
		}

		s.say("Before")
		if err := os.Mkdir(filepath.Join(s.dir, "migrations"), 0o755); err != nil {
			t.Fatal(err)
		}
		s.migration("0001_new_orders", "CREATE INDEX orders_new ON orders (id) WHERE status = 'new';")
		s.run("DATABASE_URL=$PRODUCTION ./migrate up")
		s.run("git init -q -b main && echo .env > .gitignore && git add -A && git commit -qm 'The shop'")
		s.run(`clonectl golden create shop --from-server "$SOURCE" --password-file "$PASSWORD_FILE"`)
		s.run("clonectl git enable --golden shop")

		s.say("Development is in flux")
		s.onBranch("git switch -q -c dev", "dev")
		dev := e.Show("dev")
		s.migration("0002_wishes", "CREATE TABLE wishes (customer_id bigint REFERENCES customers, product_id bigint REFERENCES products);\nINSERT INTO wishes SELECT 1, id FROM products LIMIT 100;")
		s.migration("0003_channel", "ALTER TABLE orders ADD COLUMN channel text NOT NULL DEFAULT 'web';")
		s.migration("0004_tags", "ALTER TABLE customers ADD COLUMN tags text[] NOT NULL DEFAULT '{}';")
		s.run("./migrate up")
		s.run("git add -A && git commit -qm 'Wishes, channels, tags'")

		s.say("An incident")
		s.onBranch("git switch -c hotfix/1042 main", "hotfix-1042")
		s.run("cat .env")
		hotfix := e.Show("hotfix-1042")
		if column(hotfix.Endpoint.URL, "orders", "channel") {
			t.Error("the hotfix's clone has what is in development only")
		}
		if _, code := s.try("./check"); code == 0 {
			t.Error("the tests pass before the fix")
		}

		s.say("The fix, rehearsed")
		s.migration("0005_refunds", "ALTER TABLE orders\n    ADD COLUMN refunded_cents integer NOT NULL DEFAULT 0 CHECK (refunded_cents >= 0),\n    ADD COLUMN refund_key uuid NOT NULL DEFAULT gen_random_uuid();")
		rehearse := "clonectl rehearse --fail-on 'exclusive-lock>2s,rewrite' -- ./migrate up"
		out, code := s.try(rehearse)
		if code != 5 || !strings.Contains(out, "rewritten: public.orders") {
			t.Errorf("%s: exit %d: %s", rehearse, code, out)
		}
		s.migration("0005_refunds", "ALTER TABLE orders\n    ADD COLUMN refunded_cents integer NOT NULL DEFAULT 0 CHECK (refunded_cents >= 0),\n    ADD COLUMN refund_key uuid;")
		out = s.run("clonectl rehearse --golden shop --fail-on 'exclusive-lock>2s,rewrite' --report rehearsal.md --report rehearsal.json -- ./migrate up")
		if !strings.Contains(out, `"refunded_cents"`) || strings.Contains(out, "REWRITTEN") {
			t.Errorf("the rehearsal:\n%s", out)
		}
		comment := s.run("cat rehearsal.md")
		if !strings.HasPrefix(comment, "### ") || !strings.Contains(comment, "refunded_cents") {
			t.Errorf("the comment:\n%s", comment)
		}
		if _, err := os.Stat(filepath.Join(s.dir, "rehearsal.json")); err != nil {
			t.Error(err)
		}
		s.run("rm rehearsal.md rehearsal.json")
		s.run("./migrate up && ./check")
		s.run("git add -A && git commit -qm 'Refunds are never negative'")

		s.say("Deployed, while orders come in")
		s.run("git switch -q main && git merge -q hotfix/1042")
		s.run("DATABASE_URL=$PRODUCTION ./migrate up")
		s.run("clonectl golden refresh shop")

		s.say("Development follows")
		s.onBranch("git switch -q dev && git merge -q --no-edit main", "dev")
		out = s.run("clonectl merge hotfix-1042 --into dev --dry-run")
		if !strings.Contains(out, `"refunded_cents"`) || strings.Contains(out, "channel") || !strings.Contains(out, "rehearsal succeeded") {
			t.Errorf("merging without migrations:\n%s", out)
		}
		harness.ExecSQL(t, dev.Endpoint.URL, "CREATE TABLE before_rebase (x int)")
		s.run("clonectl rebase dev -- ./migrate up")
		for table, name := range map[string]string{"orders": "refunded_cents", "customers": "tags"} {
			if !column(dev.Endpoint.URL, table, name) {
				t.Errorf("dev has no column %s.%s after the rebase", table, name)
			}
		}
		if n := harness.QueryInt(t, dev.Endpoint.URL, "SELECT count(*) FROM wishes"); n != 100 || column(dev.Endpoint.URL, "before_rebase", "x") {
			t.Errorf("after the rebase: %d wishes", n)
		}
		s.run("./check")
		s.run("clonectl undo dev")
		if !column(dev.Endpoint.URL, "before_rebase", "x") {
			t.Error("undo did not bring dev's old database back")
		}
		s.run("clonectl undo dev")

		s.say("A conflict is found here, and dev is as it was")
		s.onBranch("git switch -q -c hotfix/1043 main", "hotfix-1043")
		s.migration("0006_channel", "ALTER TABLE orders ADD COLUMN channel text;")
		s.run("./migrate up && git add -A && git commit -qm 'Where an order came from' && git switch -q main && git merge -q hotfix/1043")
		s.run("DATABASE_URL=$PRODUCTION ./migrate up && clonectl golden refresh shop")
		s.onBranch("git switch -q dev && git merge -q --no-edit main", "dev")
		harness.ExecSQL(t, dev.Endpoint.URL, "INSERT INTO wishes VALUES (2, 2)")
		generation := e.Show("dev").Generation
		out, code = s.try("clonectl rebase dev -- ./migrate up")
		if code == 0 || !strings.Contains(out, `column "channel" of relation "orders" already exists`) || !strings.Contains(out, "dev is as it was") {
			t.Errorf("a rebase with a conflict: exit %d: %s", code, out)
		}
		if n := harness.QueryInt(t, dev.Endpoint.URL, "SELECT count(*) FROM wishes"); n != 101 || e.Show("dev").Generation != generation {
			t.Errorf("the rebase that failed changed dev: %d wishes", n)
		}
		if out, code = s.try("clonectl merge hotfix-1043 --into dev --dry-run"); code != 6 || !strings.Contains(out, "channel") {
			t.Errorf("a merge with the same conflict: exit %d: %s", code, out)
		}
		s.migration("0003_channel", "ALTER TABLE orders ADD COLUMN IF NOT EXISTS channel text;\nUPDATE orders SET channel = 'web' WHERE channel IS NULL;\nALTER TABLE orders ALTER COLUMN channel SET NOT NULL, ALTER COLUMN channel SET DEFAULT 'web';")
		s.run("clonectl rebase dev -- ./migrate up")
		s.run("./check && git commit -qam 'Channels may be there'")

		s.say("The branches are merged and deleted")
		s.run("git branch -q -d hotfix/1042 hotfix/1043")
		s.run("clonectl tree")
		s.run("clonectl prune --dry-run")
		s.run("clonectl prune")
		s.run("clonectl ls")
		names := []string{}
		for _, c := range e.List() {
			names = append(names, c.Name)
		}
		if len(names) != 2 || strings.Contains(strings.Join(names, " "), "hotfix") {
			t.Errorf("after prune there are %v", names)
		}
		prod.StopLoad()
		if column(prod.URL("shop"), "wishes", "product_id") || !column(prod.URL("shop"), "orders", "refund_key") {
			t.Error("production has not what was deployed to it, and nothing else")
		}
		e.CheckNothingLeft()
	})
}
