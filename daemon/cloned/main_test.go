package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/internal/need"
)

func cloned(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

// openDir makes a directory that the users of databases get through to.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "cloned-main-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestExitCodes(t *testing.T) {
	dir := openDir(t)
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good.yaml", "state_dir: "+dir+"/state\nlisten: ['unix://"+dir+"/s']\nmetrics_listen: ''\nstorage: {driver: dir}\nruntime: {name: process}\n")
	for _, c := range []struct {
		args     []string
		code     int
		out, err string
	}{
		{[]string{"version"}, 0, "cloned ", ""},
		{[]string{"--help"}, 0, "Exit codes", ""},
		{[]string{"check", "--config", good}, 0, "storage driver     dir (configured)", ""},
		{[]string{"check", "--config", file("unknown.yaml", "a: 1\n")}, 2, "", "line 1, column 1: unknown field"},
		{[]string{"check", "--config", filepath.Join(dir, "none.yaml")}, 2, "", "no such file"},
		{[]string{"serve", "--config", file("tcp.yaml", "listen: ['tcp://0.0.0.0:1']\n")}, 2, "", "hint: use tls://"},
		{[]string{"serve", "--nonsense"}, 2, "", "unknown flag"},
		{[]string{"nonsense"}, 2, "", "unknown command"},
		{[]string{"check", "nonsense"}, 2, "", "unknown command"},
		{[]string{"teardown", "--config", good}, 0, "", ""},
		{[]string{"state", "--help"}, 0, "backup", ""},
		{[]string{"state", "nonsense"}, 2, "", "unknown command"},
		{[]string{"state", "backup", "--config", good}, 2, "", "accepts 1 arg"},
		{[]string{"state", "backup", dir + "/b", "--config", good}, 1, "", "there is no state of cloned in"},
		{[]string{"state", "check", "--config", good}, 1, "", "there is no state of cloned in"},
		{[]string{"state", "restore", dir + "/none", "--config", good}, 2, "", "there is no file"},
	} {
		code, out, err := cloned(t, c.args...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(err, c.err) || (err == "") != (c.code == 0) {
			t.Errorf("%v: exit %d\n%s%s", c.args, code, out, err)
		}
	}
}

// TestServe serves until its context ends, as it does with the first signal.
func TestServe(t *testing.T) {
	need.Postgres(t)
	dir := openDir(t)
	config := filepath.Join(dir, "c.yaml")
	text := "state_dir: " + dir + "/state\nlisten: ['unix://" + dir + "/s']\nmetrics_listen: ''\n" +
		"storage: {driver: dir}\nruntime: {name: process}\nlog: {format: json}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--config", config}, {"serve", "--config", config}} {
		ctx, cancel := context.WithCancel(t.Context())
		read, write := io.Pipe()
		done := make(chan int, 1)
		go func() {
			done <- run(ctx, args, io.Discard, write)
			write.Close()
		}()
		var last string
		for lines := bufio.NewScanner(read); lines.Scan(); {
			if last = lines.Text(); strings.Contains(last, `"msg":"ready"`) {
				c, err := client.Dial(t.Context(), "unix://"+dir+"/s")
				if err != nil {
					t.Error(err)
				} else if err := c.Close(); err != nil {
					t.Error(err)
				}
				go func() { // the daemon logs meanwhile
					defer cancel()
					backUp(t, config, filepath.Join(dir, "backup.tar"))
				}()
			}
		}
		if code := <-done; code != 0 || !strings.Contains(last, `"msg":"stopped"`) {
			t.Errorf("%v: exit %d, last line %s", args, code, last)
		}
		cancel()
	}
}

// backUp backs up the state of a daemon that runs, and finds that it can't be
// replaced meanwhile.
func backUp(t *testing.T, config, file string) {
	for _, args := range [][]string{{"backup", file}, {"check"}, {"check", file}} {
		code, out, err := cloned(t, append([]string{"state", "--config", config}, args...)...)
		if code != 0 || !strings.Contains(out, "0 goldens") || err != "" {
			t.Errorf("%v: exit %d\n%s%s", args, code, out, err)
		}
	}
	code, _, err := cloned(t, "state", "restore", "--force", "--config", config, file)
	if code != 1 || !strings.Contains(err, "another cloned runs") {
		t.Errorf("restore: exit %d\n%s", code, err)
	}
}
