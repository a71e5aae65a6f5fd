package harness

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// DockerRestart is the command that restarts the Docker Engine, from
// CLONED_E2E_DOCKER_RESTART; without it the test is skipped.
func DockerRestart(t testing.TB) []string {
	t.Helper()
	argv := strings.Fields(os.Getenv("CLONED_E2E_DOCKER_RESTART"))
	if len(argv) == 0 {
		if strings.Contains(os.Getenv("CLONED_REQUIRE"), "docker-restart") {
			t.Fatal("CLONED_E2E_DOCKER_RESTART is not set")
		}
		t.Skip("the Docker Engine here is not ours to restart: CLONED_E2E_DOCKER_RESTART is not set")
	}
	return argv
}

// CheckIsolated proves from inside a clone that no connection gets out of it to
// a listener on the host that the host itself does reach.
func CheckIsolated(t testing.TB, e *Env, c Clone) {
	t.Helper()
	gateway := e.BridgeGateway()
	l, err := net.Listen("tcp", gateway+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	if conn, err := net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatalf("the listener does not work, so the check would prove nothing: %v", err)
	} else {
		conn.Close()
	}
	reach := fmt.Sprintf("COPY (SELECT 1) TO PROGRAM 'timeout 3 bash -c \"exec 3<>/dev/tcp/%s/%d\"'", gateway, port)
	if err := TrySQL(t.Context(), c.Endpoint.URL, reach); err == nil {
		t.Error("a connection left the clone towards the host")
	}
	works := "COPY (SELECT 1) TO PROGRAM 'timeout 3 bash -c true'"
	if err := TrySQL(t.Context(), c.Endpoint.URL, works); err != nil {
		t.Errorf("the check proves nothing: %v", err)
	}
}

// Occupy listens on a port of the clones' address until the returned function
// is called.
func (e *Env) Occupy(port int) (free func()) {
	e.t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		e.t.Fatal(err)
	}
	return func() { l.Close() }
}

// LogTail is the end of the daemon's log.
func (e *Env) LogTail(lines int) string { return tail(filepath.Join(e.Dir, "cloned.log"), lines) }

// LoseStore moves the store away; the returned function brings it back.
func (e *Env) LoseStore() (back func()) {
	e.t.Helper()
	store := filepath.Join(e.Dir, "state/state.db")
	if err := os.Rename(store, store+".lost"); err != nil {
		e.t.Fatal(err)
	}
	return func() {
		if err := os.Rename(store+".lost", store); err != nil {
			e.t.Fatal(err)
		}
	}
}

// Prometheus starts a real one that scrapes the daemon, until the test ends. The
// function asks it; an answer of several series is the first's value.
func (e *Env) Prometheus() (query func(promql string) (string, error)) {
	e.t.Helper()
	dir := filepath.Join(e.Dir, "prometheus")
	if err := os.Mkdir(dir, 0o755); err != nil {
		e.t.Fatal(err)
	}
	config := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: cloned\n  static_configs:\n  - targets: [%q]\n",
		strings.TrimPrefix(e.Metrics, "http://"))
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o644); err != nil {
		e.t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", FreePort(e.t))
	cmd := exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		e.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		log.Close()
	})
	client := &http.Client{Timeout: 5 * time.Second}
	return func(promql string) (string, error) {
		resp, err := client.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(promql))
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		var answer struct {
			Data struct {
				Result []struct{ Value [2]any }
			}
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			return "", err
		}
		if len(answer.Data.Result) == 0 {
			return "", nil
		}
		return fmt.Sprint(answer.Data.Result[0].Value[1]), nil
	}
}
