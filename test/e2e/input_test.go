package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/test/harness"
)

// TestBadInput gives what must be refused. Each gets a clear error and the exit
// code of its kind, and changes nothing.
func TestBadInput(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		good := e.DataDirectory(scale(1_000))
		e.Ctl("golden", "create", "shop", "--from-directory", good)
		e.Create("taken")
		before := e.Footprint()

		bad := func(mutate func(dir string)) string {
			t.Helper()
			dir := e.CopyDataDirectory(good)
			mutate(dir)
			return dir
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		empty := filepath.Join(e.Dir, "empty")
		must(os.Mkdir(empty, 0o755))
		oldVersion := bad(func(d string) { must(os.WriteFile(d+"/PG_VERSION", []byte("9.3\n"), 0o600)) })
		corrupt := bad(func(d string) {
			f, err := os.OpenFile(d+"/global/pg_control", os.O_WRONLY, 0)
			must(err)
			_, err = f.WriteAt([]byte("garbage"), 40)
			must(err)
			must(f.Close())
		})
		leaving := bad(func(d string) { must(os.Symlink("/etc", d+"/pg_tblspc/16999")) })
		running := harness.InitServer(t, e.Dir+"/running")
		running.Start()
		dead := harness.FreePort(t)

		long := strings.Repeat("x", 64)
		cases := []struct {
			name string
			code int
			says string
			args []string
		}{
			{"empty name", 2, "name", []string{"create", ""}},
			{"name too long", 2, "name", []string{"create", long}},
			{"slash", 2, "name", []string{"create", "a/b"}},
			{"dots", 2, "name", []string{"create", ".."}},
			{"at", 2, "name", []string{"create", "a@b"}},
			{"space", 2, "name", []string{"create", "a b"}},
			{"uppercase", 2, "name", []string{"create", "Dev"}},
			{"unicode", 2, "name", []string{"create", "dév"}},
			{"shell", 2, "name", []string{"create", "a;reboot"}},
			{"substitution", 2, "name", []string{"create", "$(id)"}},
			{"leading dash", 2, "name", []string{"create", "--", "-x"}},
			{"unknown golden", 3, "golden", []string{"create", "x", "--golden", "nosuch"}},
			{"unknown snapshot", 3, "snapshot", []string{"create", "x", "--snapshot", "nosuch"}},
			{"negative TTL", 2, "ttl", []string{"create", "x", "--ttl", "-5m"}},
			{"absurd TTL", 2, "ttl", []string{"create", "x", "--ttl", "900000h"}},
			{"port outside the range", 2, "port", []string{"create", "x", "--port", "70000"}},
			{"unknown clone", 3, "nosuch", []string{"show", "nosuch"}},
			{"golden name", 2, "name", []string{"golden", "create", "A/B", "--from-directory", good}},
			{"golden taken", 4, "shop", []string{"golden", "create", "shop", "--from-directory", empty}},
			{"missing directory", 2, "source", []string{"golden", "create", "g", "--from-directory", "/nonexistent"}},
			{"relative directory", 2, "path", []string{"golden", "create", "g", "--from-directory", "./data"}},
			{"empty directory", 2, "source", []string{"golden", "create", "g", "--from-directory", empty}},
			{"unsupported version", 5, "9.3", []string{"golden", "create", "g", "--from-directory", oldVersion}},
			{"corrupt pg_control", 10, "pg_control", []string{"golden", "create", "g", "--from-directory", corrupt}},
			{"links leaving", 5, "/etc", []string{"golden", "create", "g", "--from-directory", leaving}},
			{"running server", 5, "stop", []string{"golden", "create", "g", "--from-directory", running.Dir}},
			{"server refuses", 8, "source", []string{"golden", "create", "g", "--from-server", "host=127.0.0.1 user=postgres port=" + itoa(dead)}},
			{"no password", 9, "password", []string{"golden", "create", "g", "--from-server", running.ConnInfo()}},
			{"dataset that is not there", 2, "source", []string{"golden", "create", "g", "--in-place", e.NoSuchDataset()}},
			{"unknown setting", 2, "settings", []string{"golden", "create", "g", "--from-directory", good, "--set", "no such=1"}},
			{"harmful setting", 2, "archive_command", []string{"golden", "create", "g", "--from-directory", good, "--set", "archive_command=cp %p /tmp"}},
			{"image that is not there", 5, "image", []string{"golden", "create", "g", "--from-directory", good, "--image", "nosuch-image:15"}},
			{"golden in use", 5, "clones", []string{"golden", "rm", "shop"}},
			{"reset to nothing", 3, "snapshot", []string{"reset", "taken", "--to", "nosuch"}},
		}
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				r := e.Try(c.args...)
				if r.Code != c.code {
					t.Errorf("exit %d, want %d: %s", r.Code, c.code, r.Stderr)
				}
				if !strings.Contains(strings.ToLower(r.Stderr), c.says) {
					t.Errorf("the message does not say %q: %s", c.says, r.Stderr)
				}
				if after := e.Footprint(); after != before {
					t.Errorf("it changed something:\nbefore: %s\nafter: %s", before, after)
				}
			})
		}
		t.Run("port in use", func(t *testing.T) {
			port := e.PortFirst + 50
			free := e.Occupy(port)
			r := e.Try("create", "x", "--port", itoa(port))
			free()
			if r.Code != 7 || !strings.Contains(r.Stderr, itoa(port)) {
				t.Errorf("exit %d, want 7 and the port named: %s", r.Code, r.Stderr)
			}
			if after := e.Footprint(); after != before {
				t.Errorf("it changed something:\nbefore: %s\nafter: %s", before, after)
			}
		})
		t.Run("port taken while suspended", func(t *testing.T) {
			c := e.Show("taken")
			e.Ctl("suspend", "taken")
			free := e.Occupy(c.Endpoint.Port)
			r := e.Try("resume", "taken")
			if r.Code != 7 || !strings.Contains(r.Stderr, itoa(c.Endpoint.Port)) || !strings.Contains(r.Stderr, "--new-port") {
				t.Errorf("exit %d, want 7, the port and --new-port named: %s", r.Code, r.Stderr)
			}
			e.Ctl("resume", "taken", "--new-port")
			free()
			if now := e.Show("taken"); now.Endpoint.Port == c.Endpoint.Port {
				t.Error("it has the taken port")
			}
		})
		running.Stop()
		e.CheckNothingLeft()
	})
}

// TestBadConfiguration gives configurations that must be refused, and checks
// that the message leads to the fault.
func TestBadConfiguration(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		for name, c := range map[string]struct{ yaml, says string }{
			"unknown key":     {"no_such_key: 1\n", "no_such_key"},
			"not YAML":        {"clones: [\n", "line"},
			"beyond loopback": {"listen: [\"tcp://0.0.0.0:7777\"]\n", "loopback"},
			"metrics beyond":  {"metrics_listen: 0.0.0.0:7777\n", "loopback"},
			"no certificate":  {"listen: [\"tls://0.0.0.0:7777\"]\n", "tls.cert"},
			"no such file":    {"tls: {cert: /none, key: /none}\n", "tls.key"},
			"anybody's jobs":  {"oidc: [{issuer: \"https://token.actions.githubusercontent.com\", audience: a, rules: [{claims: {ref: x}, role: user}]}]\n", "speaks for everybody"},
			"duration":        {"reconcile_interval: soon\n", "reconcile"},
		} {
			t.Run(name, func(t *testing.T) {
				out, code := e.Check(c.yaml)
				if code != 2 || !strings.Contains(out, c.says) {
					t.Errorf("exit %d, want 2 and %q: %s", code, c.says, out)
				}
			})
		}
	})
}
