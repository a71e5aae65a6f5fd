package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	poolSize = "8G"
	// smallPool is for tests that fill it.
	smallPool = "1G"
)

// makePool makes what the driver needs and the daemon does not make itself.
func (e *Env) makePool() {
	e.t.Helper()
	if e.Driver != "zfs" {
		return
	}
	image := filepath.Join(e.Dir, "zpool.img")
	e.run("truncate", "-s", e.poolSize(), image)
	e.run("zpool", "create", "-f", "-m", filepath.Join(e.Dir, "z"), e.zpool(), image)
	e.t.Cleanup(func() { e.run("zpool", "destroy", "-f", e.zpool()) })
}

// zpool is the name of the Env's own ZFS pool, zparent the daemon's part of it.
// Ports are the Env's own too.
func (e *Env) zpool() string { return fmt.Sprint("clonede2e-", e.PortFirst) }

func (e *Env) zparent() string { return e.zpool() + "/cloned" }

func (e *Env) poolSize() string {
	if e.extra == "pool=small" {
		return smallPool
	}
	return poolSize
}

func (e *Env) writeConfig() {
	e.t.Helper()
	metrics := FreePort(e.t)
	e.Metrics = fmt.Sprintf("http://127.0.0.1:%d", metrics)
	maxClones, floor, undo, dockerHost := "0", "64MiB", "0s", "" // what is deleted is gone, but for tests of undo
	switch key, value, _ := strings.Cut(e.extra, "="); key {
	case "clones.max":
		maxClones = value
	case "clones.floor":
		floor = value
	case "undo":
		undo = value
	case "docker.host":
		dockerHost = value
	case "", "pool":
	default:
		e.t.Fatalf("unknown setting %q", key)
	}
	config := fmt.Sprintf(`state_dir: %[1]s/state
listen: ["unix://%[2]s"]
metrics_listen: 127.0.0.1:%[3]d
storage:
  driver: %[4]s
  zfs: {parent: %[5]s}
  btrfs: {pool_size: %[6]siB}
runtime:
  name: %[7]s
  docker: {host: %[13]q}
clones:
  ports: %[8]d-%[9]d
  max: %[10]s
  free_floor: %[11]s
undo: {for: %[12]s}
reconcile_interval: 2s
log: {level: debug, format: json}
`, e.Dir, e.Socket, metrics, e.Driver, e.zparent(), e.poolSize(), e.Runtime, e.PortFirst, e.PortLast, maxClones, floor, undo, dockerHost)
	if err := os.WriteFile(e.ConfigFile(), []byte(config), 0o644); err != nil {
		e.t.Fatal(err)
	}
}

// ConfigFile is the daemon's configuration.
func (e *Env) ConfigFile() string { return filepath.Join(e.Dir, "cloned.yaml") }

// Check runs "cloned check" on the configuration with YAML put before it.
func (e *Env) Check(yaml string) (out string, code int) {
	e.t.Helper()
	file := filepath.Join(e.Dir, "check.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o644); err != nil {
		e.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(e.Bin, "cloned"), "check", "--config", file)
	all, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		e.t.Fatal(err)
	}
	return string(all), cmd.ProcessState.ExitCode()
}

// run runs a command and fails the test if it fails.
func (e *Env) run(argv ...string) string {
	e.t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		e.t.Errorf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// teardown deletes what the test left, proves that nothing stays, and ends the
// daemon. After a failed test it removes by force what is marked as this
// installation's.
func (e *Env) teardown() {
	if e.daemon != nil && !e.t.Failed() {
		for _, c := range e.List() {
			if c.Protect {
				e.Try("unprotect", c.Name)
			}
			e.Ctl("rm", c.Name)
		}
		for _, golden := range strings.Fields(e.Ctl("golden", "ls", "-o", "name")) {
			e.Ctl("golden", "rm", golden)
		}
		e.CheckNothingLeft()
	}
	e.CheckSecrets()
	e.Stop()
	e.force()
	if out, err := exec.Command(filepath.Join(e.Bin, "cloned"), "teardown", "--config", e.ConfigFile()).CombinedOutput(); err != nil && e.Instance != "" {
		e.t.Errorf("cloned teardown: %v: %s", err, out)
	}
	e.unmount()
}

// force removes instances of this installation that are still there.
func (e *Env) force() {
	if e.Instance == "" {
		return
	}
	for _, id := range e.Instances() {
		if e.Runtime == "docker" {
			e.run("docker", "rm", "-f", "cloned-"+e.Instance+"-"+id)
		}
	}
	for pid := range e.processes() {
		if p, err := os.FindProcess(pid); err == nil {
			p.Kill()
		}
	}
}

// unmount unmounts and detaches the pool that the daemon made in a file.
func (e *Env) unmount() {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		e.t.Error(err)
		return
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 2 || !strings.HasPrefix(f[1], e.Dir+"/") || f[2] == "zfs" {
			continue
		}
		// What was killed just now may still be going.
		Eventually(e.t, 20*time.Second, "unmount", func() error {
			if out, err := exec.Command("umount", f[1]).CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
		if strings.HasPrefix(f[0], "/dev/loop") {
			// Fails where the mount had made it detach itself.
			exec.Command("losetup", "-d", f[0]).Run()
		}
	}
}
