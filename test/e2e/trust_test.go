package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/auth/authtest"
	"github.com/cloned-db/cloned/test/harness"
)

// trust is a daemon that is reached by TLS too, with certificates of `cloned pki`,
// and that trusts an issuer of identity tokens.
type trust struct {
	*harness.Env
	pki, address string
	issuer       *authtest.Issuer
}

func startTrust(t *testing.T, e *harness.Env) *trust {
	t.Helper()
	w := &trust{Env: e, pki: e.Dir + "/pki", issuer: authtest.NewIssuer(t)}
	w.address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	w.makePKI(t, "init")
	w.makePKI(t, "client", "ci-17")
	config, err := os.ReadFile(e.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(config), `listen: ["unix://`+e.Socket+`"]`, `listen: ["unix://`+e.Socket+`", "tls://`+w.address+`"]`, 1)
	text += fmt.Sprintf(`tls: {cert: %[1]s/server.crt, key: %[1]s/server.key, client_ca: %[1]s/ca.crt}
access: {certs: {admin: admin, ci-17: user}}
oidc:
  - issuer: %[2]s
    audience: cloned
    ca: %[3]s
    rules:
      - claims: {repository: acme/shop, ref: refs/heads/*}
        role: user
        goldens: [shop]
      - claims: {project_path: acme/*}
        role: user
`, w.pki, w.issuer.URL, w.issuer.CAFile())
	if err := os.WriteFile(e.ConfigFile(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	e.Start()
	e.GoldenFromDirectory("shop", scale(500))
	return w
}

func (w *trust) makePKI(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), w.Bin+"/cloned", append([]string{"pki", "--dir", w.pki}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// by is what a client that comes by TLS has in its environment; as "" it has no
// certificate.
func (w *trust) by(client string, more ...string) []string {
	env := append([]string{"CLONED_HOST=tls://" + w.address, "CLONED_CA=" + w.pki + "/ca.crt"}, more...)
	if client != "" {
		env = append(env, "CLONED_CERT="+filepath.Join(w.pki, client+".crt"), "CLONED_KEY="+filepath.Join(w.pki, client+".key"))
	}
	return env
}

// ctl runs clonectl in an environment.
func (w *trust) ctl(env []string, args ...string) (out string, code int) {
	cmd := w.Command(args...)
	cmd.Env = append(cmd.Env, env...)
	raw, _ := cmd.CombinedOutput() // its exit code is looked at
	return string(raw), cmd.ProcessState.ExitCode()
}

// TestTrust: who comes by TLS is known by a certificate or an identity token, and
// is nobody without.
func TestTrust(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		w := startTrust(t, e)
		main := w.issuer.Token(authtest.GitHub("acme/shop", "refs/heads/main"))
		for name, c := range map[string]struct {
			env  []string
			args string
			code int
			says string
		}{
			"admin":                {w.by("admin"), "status -o json", 0, `"driver"`},
			"a user's certificate": {w.by("ci-17"), "create mine", 0, "mine"},
			"and what it may not":  {w.by("ci-17"), "golden rm shop", 9, "role"},
			"an identity token":    {w.by("", "CLONED_TOKEN="+main), "create job --golden shop", 0, "job"},
			"a stranger's":         {w.by("", "CLONED_TOKEN="+w.issuer.Token(authtest.GitHub("evil/shop", "refs/heads/main"))), "ls", 9, `repository is "evil/shop"`},
			"one that has expired": {w.by("", "CLONED_TOKEN="+w.issuer.Token(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})), "ls", 9, "expired"},
			"one for others":       {w.by("", "CLONED_TOKEN="+w.issuer.Token(map[string]any{"aud": "others"})), "ls", 9, "audience"},
			"nobody":               {w.by(""), "ls", 9, "does not show who makes it"},
			"no CA":                {[]string{"CLONED_HOST=tls://" + w.address}, "ls", 9, "hint: name the certificate of its CA in CLONED_CA"},
			"the server's own":     {w.by("server"), "ls", 9, "refuses the connection"},
			"plain":                {[]string{"CLONED_HOST=tcp://" + w.address}, "ls", 8, ""},
		} {
			out, code := w.ctl(c.env, strings.Fields(c.args)...)
			if code != c.code || !strings.Contains(out, c.says) || strings.Contains(out, main) {
				t.Errorf("%s: exit %d, want %d and %q: %s", name, code, c.code, c.says, out)
			}
		}
		for want, env := range map[string][]string{"job": w.by("", "CLONED_TOKEN="+main), "mine": w.by("ci-17")} {
			out, code := w.ctl(env, "ls", "-o", "json")
			var own []harness.Clone
			if err := json.Unmarshal([]byte(out), &own); err != nil || code != 0 || len(own) != 1 || own[0].Name != want {
				t.Errorf("its own clones are %v, exit %d, %v; want %s", own, code, err, want)
			}
		}
		if list := e.List(); len(list) != 2 {
			t.Errorf("there are %v", list)
		}
		e.Ctl("rm", "job", "mine", "--now")
		e.CheckNothingLeft()
		log, err := os.ReadFile(e.Dir + "/cloned.log")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(log), `"oidc:repo:acme/shop:ref:refs/heads/main"`) || strings.Contains(string(log), main) {
			t.Error("the log does not tell who called, or tells the token")
		}
	})
}

// TestTLSRenewed: the daemon's certificate is renewed while it runs. New
// connections get the new one, and one that holds a clone is not cut.
func TestTLSRenewed(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		w := startTrust(t, e)
		run := w.Command("run", "--golden", "shop", "--", "sh", "-c", "echo up; read x; exit 3")
		run.Env = append(run.Env, w.by("ci-17")...)
		stdin, err := run.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := run.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		run.Stderr = os.Stderr
		if err := run.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "up\n" {
			t.Fatalf("%q, %v", line, err)
		}
		first := w.served(t, tls.VersionTLS13)
		w.makePKI(t, "renew", "server")
		deadline := time.Now().Add(5 * time.Second)
		for w.served(t, tls.VersionTLS13).SerialNumber.Cmp(first.SerialNumber) == 0 {
			if time.Now().After(deadline) {
				t.Fatal("the new certificate is not served")
			}
		}
		if out, code := w.ctl(w.by("admin"), "ls"); code != 0 || !strings.Contains(out, "held") {
			t.Errorf("by the new certificate: exit %d: %s", code, out)
		}
		log, err := os.ReadFile(e.Dir + "/cloned.log")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(log), "HoldClone") { // it is there when a call is over
			t.Error("the call that holds the clone was cut")
		}
		if _, err := io.WriteString(stdin, "\n"); err != nil {
			t.Fatal(err)
		}
		run.Wait() // its exit code is looked at
		if code := run.ProcessState.ExitCode(); code != 3 || len(e.List()) != 0 {
			t.Errorf("the run: exit %d, left %v", code, e.List())
		}
		if conn, err := tls.Dial("tcp", w.address, w.client(t, tls.VersionTLS12)); err == nil {
			conn.Close()
			t.Error("TLS 1.2 is spoken")
		}
		e.CheckNothingLeft()
	})
}

func (w *trust) client(t *testing.T, version uint16) *tls.Config {
	t.Helper()
	data, err := os.ReadFile(w.pki + "/ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(data)
	return &tls.Config{RootCAs: roots, MinVersion: version, MaxVersion: version, NextProtos: []string{"h2"}}
}

// served is the certificate that a new connection gets.
func (w *trust) served(t *testing.T, version uint16) *x509.Certificate {
	t.Helper()
	conn, err := tls.Dial("tcp", w.address, w.client(t, version))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

// TestCIIdentity runs the pieces under deploy/ci where the runner is nobody to the
// daemon: a job is let in by the identity token that its platform signs.
func TestCIIdentity(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		w := startTrust(t, e)
		w.issuer.Life = 30 * time.Second // less than the client's margin: each call gets one
		github := authtest.GitHub("acme/shop", "refs/heads/feature/x")
		gitlab := authtest.GitLab("acme/web/shop", "main")
		psql := harness.BinDir(t) + "/psql"
		command := psql + ` -XAtc "SELECT 'orders: ' || (count(*) > 0) FROM orders" && exit 3`
		jobs := map[string]ciScript{
			"github": githubRun(t, "run", map[string]string{"run": command, "host": "tls://" + w.address, "ca": w.pki + "/ca.crt", "audience": "cloned"}),
			"gitlab": gitlabScript(t, ".cloned", map[string]string{"CLONED_COMMAND": command}),
			"shell":  {argv: []string{harness.Repo(t, "deploy/ci/shell/cloned-run"), "sh", "-c", command}},
		}
		with := map[string][]string{
			"github": {"ACTIONS_ID_TOKEN_REQUEST_URL=" + w.issuer.RequestURL(github), "ACTIONS_ID_TOKEN_REQUEST_TOKEN=" + authtest.RequestToken, "SSL_CERT_FILE=" + w.issuer.CAFile()},
			"gitlab": w.by("", "CLONED_TOKEN="+gitlabToken(t, ".cloned-identity", w.issuer, gitlab)),
			"shell":  w.by("", "CLONED_TOKEN="+w.issuer.Token(gitlab)),
		}
		for name, job := range jobs {
			known := ciScript{argv: job.argv, env: slices.Concat(job.env, with[name])}
			out, code := known.run(t, e)
			if code != 3 || !strings.Contains(out, "orders: true") {
				t.Errorf("%s: exit %d: %s", name, code, out)
			}
			if name == "github" { // a job that may not ask for its identity
				job.env = append(job.env, "ACTIONS_ID_TOKEN_REQUEST_URL=")
			} else {
				job.env = slices.Concat(job.env, w.by(""))
			}
			if out, code := job.run(t, e); code != 9 && code != 5 || strings.Contains(out, "orders") {
				t.Errorf("%s, without an identity: exit %d: %s", name, code, out)
			}
			if list := e.List(); len(list) != 0 {
				t.Errorf("%s left %v", name, list)
			}
		}
		if w.issuer.Given() < 2 {
			t.Errorf("a job that outlives its token asked for %d", w.issuer.Given())
		}
		e.CheckNothingLeft()
	})
}

// gitlabToken is the token that GitLab gives a job for a hidden job's id_tokens.
func gitlabToken(t *testing.T, name string, issuer *authtest.Issuer, claims map[string]any) string {
	t.Helper()
	var file map[string]struct {
		Tokens map[string]struct{ Aud string } `yaml:"id_tokens"`
	}
	readYAML(t, "deploy/ci/gitlab/cloned.yml", &file)
	claims["aud"] = file[name].Tokens["CLONED_TOKEN"].Aud
	return issuer.Token(claims)
}
