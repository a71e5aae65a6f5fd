package harness

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Cloned runs the daemon's program with the daemon's configuration.
func (e *Env) Cloned(args ...string) Result {
	e.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(e.t.Context(), filepath.Join(e.Bin, "cloned"), append(args, "--config", e.ConfigFile())...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		e.t.Fatal(err)
	}
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
}

// Finding is what clonectl doctor finds.
type Finding struct{ Severity, Check, Message, Remedy string }

// Doctor runs clonectl doctor.
func (e *Env) Doctor() (findings []Finding, code int) {
	e.t.Helper()
	r := e.Try("doctor", "-o", "json")
	var h struct{ Findings []Finding }
	if err := json.Unmarshal([]byte(r.Stdout), &h); err != nil {
		e.t.Fatalf("doctor: exit %d, %v: %s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	return h.Findings, r.Code
}

// PlantVolume makes a volume of a megabyte that bears the installation's mark.
func (e *Env) PlantVolume(id string) {
	e.t.Helper()
	var path string
	switch e.Driver {
	case "zfs":
		e.run("zfs", "create", "-o", "cloned:instance="+e.Instance, "-o", "cloned:created="+time.Now().UTC().Format(time.RFC3339Nano), e.zparent()+"/"+id)
		path = strings.TrimSpace(e.run("zfs", "get", "-H", "-o", "value", "mountpoint", e.zparent()+"/"+id))
	case "btrfs":
		path = filepath.Join(e.poolMount(), e.Instance, "v", id)
		e.run("btrfs", "subvolume", "create", path)
	case "dir":
		path = filepath.Join(e.Dir, "state/volumes", e.Instance, "v", id, "data")
		if err := os.MkdirAll(path, 0o755); err != nil {
			e.t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(path, "content"), bytes.Repeat([]byte("planted "), 1<<17), 0o600); err != nil {
		e.t.Fatal(err)
	}
}

// PlantContainer makes a container that bears the installation's mark, of the image
// of a clone's.
func (e *Env) PlantContainer(id string, like Clone) {
	e.t.Helper()
	name := "cloned-" + e.Instance + "-"
	image := strings.TrimSpace(e.run("docker", "inspect", "-f", "{{.Image}}", name+like.VolumeID()))
	e.run("docker", "create", "--name", name+id, "--label", "io.cloned.instance="+e.Instance,
		"--label", "io.cloned.id="+id, "--label", "io.cloned.kind=instance", image, "true")
}

// LoseState removes all that a backup holds.
func (e *Env) LoseState() {
	e.t.Helper()
	for _, name := range []string{"state.db", "key", "installation.json"} {
		if err := os.Remove(filepath.Join(e.Dir, "state", name)); err != nil {
			e.t.Fatal(err)
		}
	}
}
