package harness

import (
	"encoding/base64"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// lockedBuffer is written by several at once.
type lockedBuffer struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (b *lockedBuffer) WriteString(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.WriteString(s)
}

// String returns what was written so far.
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// keepSecret notes what must not be found in anything that the daemon writes down.
func (e *Env) keepSecret(what, value string) {
	e.secretsLock.Lock()
	defer e.secretsLock.Unlock()
	if len(value) >= 8 { // shorter ones are found by chance
		e.secrets[value] = what
	}
}

// CheckSecrets holds that no secret that this environment has seen is where it could
// be read by others: in the daemon's log, which is at level debug, its audit log,
// its records and metrics, what clonectl said to standard error, and the command
// lines of all processes.
func (e *Env) CheckSecrets() {
	e.t.Helper()
	state := filepath.Join(e.Dir, "state")
	if key, err := os.ReadFile(filepath.Join(state, "key")); err == nil {
		e.keepSecret("the key", string(key))
		e.keepSecret("the key, in hexadecimal", hex.EncodeToString(key))
		e.keepSecret("the key, in base64", base64.StdEncoding.EncodeToString(key))
	}
	e.searchSecrets("what clonectl said", e.said.String())
	files := []string{filepath.Join(e.Dir, "cloned.log"), filepath.Join(state, "state.db"), filepath.Join(state, "installation.json")}
	for _, pattern := range []string{filepath.Join(state, "audit", "*"), "/proc/[0-9]*/cmdline"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			e.t.Error(err)
		}
		files = append(files, found...)
	}
	for _, path := range files {
		content, err := os.ReadFile(path)
		if name, _, _ := strings.Cut(string(content), "\x00"); filepath.Base(path) == "cmdline" && (filepath.Base(name) == "psql" || filepath.Base(name) == "pgbench") {
			continue // the tests' own, which the daemon never starts
		}
		if err == nil {
			e.searchSecrets(path, string(content))
		} else if !isGone(err) {
			e.t.Error(err)
		}
	}
	if e.daemon == nil {
		return
	}
	resp, err := http.Get(e.Metrics + "/metrics")
	if err != nil {
		e.t.Error(err)
		return
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil || len(page) == 0 {
		e.t.Errorf("metrics: %d bytes, %v", len(page), err)
	}
	e.searchSecrets("the metrics", string(page))
}

// isGone: a process has ended, or a test has no such file.
func isGone(err error) bool {
	return os.IsNotExist(err) || strings.Contains(err.(*fs.PathError).Err.Error(), "no such process")
}

func (e *Env) searchSecrets(where, text string) {
	e.t.Helper()
	e.secretsLock.Lock()
	defer e.secretsLock.Unlock()
	for secret, what := range e.secrets {
		if strings.Contains(text, secret) {
			e.t.Errorf("%s has %s", where, what)
		}
	}
}
