package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPKI does what the commands print: the configuration is good as printed.
func TestPKI(t *testing.T) {
	dir := openDir(t)
	place := filepath.Join(dir, "etc", "pki")
	code, out, stderr := cloned(t, "pki", "init", "--dir", place, "--host", "db1.internal,10.0.0.7")
	if code != 0 || !strings.Contains(out, "export CLONED_CA=ca.crt CLONED_CERT=admin.crt CLONED_KEY=admin.key") {
		t.Fatalf("exit %d\n%s%s", code, out, stderr)
	}
	code, client, stderr := cloned(t, "pki", "client", "ci-17", "--dir", place)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	config := filepath.Join(dir, "cloned.yaml")
	listen := strings.Replace(strings.Replace(block(t, out, "listen:"), "/run/cloned/cloned.sock", dir+"/s", 1), ":7432", ":0", 1)
	text := listen + block(t, out, "access:") + "    ci-17: user\n" +
		"state_dir: " + dir + "/state\nmetrics_listen: 0.0.0.0:0\nstorage: {driver: dir}\nruntime: {name: process}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(block(t, client, "access:"), "    ci-17: user\n") {
		t.Errorf("for the client: %s", client)
	}
	want := time.Now().AddDate(1, 0, 0).Format("2006")
	if code, out, stderr := cloned(t, "check", "--config", config); code != 0 ||
		!strings.Contains(out, "db1.internal, 127.0.0.1, ::1, 10.0.0.7 until "+want) || !strings.Contains(out, "clients' certificates by "+place+"/ca.crt") {
		t.Errorf("exit %d\n%s%s", code, out, stderr)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"pki", "init", "--dir", place}, 1, "nothing is overwritten"},
		{[]string{"pki", "init", "--dir", dir + "/other", "--host", "a b"}, 2, "neither a DNS name nor an IP address"},
		{[]string{"pki", "client", "ci-17", "--dir", place}, 1, "hint: choose another name"},
		{[]string{"pki", "client", "../x", "--dir", place}, 2, "must be 1 to 64"},
		{[]string{"pki", "client", "--dir", place}, 2, "accepts 1 arg"},
		{[]string{"pki", "client", "x", "--dir", dir + "/none"}, 1, "hint: make one (cloned pki init)"},
		{[]string{"pki", "renew", "server", "--dir", place}, 0, ""},
		{[]string{"pki", "renew", "nobody", "--dir", place}, 1, "there is no certificate"},
		{[]string{"pki", "nonsense"}, 2, "unknown command"},
	} {
		if code, _, stderr := cloned(t, c.args...); code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: exit %d: %s", c.args, code, stderr)
		}
	}
	if err := os.Chmod(place+"/server.key", 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, stderr = cloned(t, "check", "--config", config)
	if code != 2 || !strings.Contains(out, "TLS                FAILS: tls.key: "+place+"/server.key has mode 644") {
		t.Errorf("with a key that others may read: exit %d\n%s%s", code, out, stderr)
	}
}

// block returns the lines of the output from the first that is given to an empty one.
func block(t *testing.T, out, first string) string {
	t.Helper()
	_, rest, ok := strings.Cut(out, "\n"+first+"\n")
	text, _, _ := strings.Cut(rest, "\n\n")
	if !ok {
		t.Fatalf("no %s in %s", first, out)
	}
	return first + "\n" + text + "\n"
}
