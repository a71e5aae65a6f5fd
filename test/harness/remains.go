package harness

import (
	"bufio"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Remains is all that is there of the installation, by kind: what is there more
// after some work than before it has been left over.
func (e *Env) Remains() map[string][]string {
	e.t.Helper()
	remains := map[string][]string{"volumes": e.Volumes(), "instances": e.Instances(), "files": e.files(), "mounts": e.mounts()}
	for _, port := range e.listening() {
		remains["ports"] = append(remains["ports"], strconv.Itoa(port))
	}
	for name := range orphanedMemory(e.t) {
		if !e.memory[name] {
			remains["shared_memory"] = append(remains["shared_memory"], name)
		}
	}
	return remains
}

// files are those of the daemon, outside its volumes.
func (e *Env) files() (names []string) {
	e.t.Helper()
	device := func(path string) uint64 {
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err != nil {
			e.t.Fatal(err)
		}
		return st.Dev
	}
	home := device(e.Dir)
	err := filepath.WalkDir(e.Dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && device(path) != home: // the pool
			return filepath.SkipDir
		case d.IsDir() && filepath.Base(filepath.Dir(path)) == "v": // a volume of the driver dir
			return filepath.SkipDir
		}
		names = append(names, path)
		return nil
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return names
}

// mounts are what is mounted under the installation's directory.
func (e *Env) mounts() (points []string) {
	e.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		e.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); strings.HasPrefix(f[1], e.Dir+"/") {
			points = append(points, f[1])
		}
	}
	return points
}

// Metric is a metric of the daemon without labels.
func (e *Env) Metric(name string) float64 {
	e.t.Helper()
	resp, err := http.Get(e.Metrics + "/metrics")
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				e.t.Fatal(err)
			}
			return n
		}
	}
	e.t.Fatal(fmt.Errorf("no metric %s", name))
	return 0
}
