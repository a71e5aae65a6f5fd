package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// TakePoolAway takes the pool away behind the daemon's back; what runs on it runs
// on. back brings it back.
func (e *Env) TakePoolAway() (back func()) {
	e.t.Helper()
	if e.Driver == "zfs" {
		e.run("zpool", "export", e.zpool())
		return func() {
			e.t.Helper()
			e.run("zpool", "import", "-d", e.Dir, e.zpool())
		}
	}
	mount := e.poolMount()
	device := strings.TrimSpace(e.run("findmnt", "-n", "-o", "SOURCE", mount))
	e.run("umount", "--lazy", mount)
	return func() {
		e.t.Helper()
		e.run("mount", "-o", "noatime", device, mount)
	}
}

// DegradePool takes one of two halves from a mirror that it makes of a ZFS pool
// first; heal gives it back.
func (e *Env) DegradePool() (heal func()) {
	e.t.Helper()
	first, second := filepath.Join(e.Dir, "zpool.img"), filepath.Join(e.Dir, "zpool.mirror")
	e.run("truncate", "-s", e.poolSize(), second)
	e.run("zpool", "attach", "-w", e.zpool(), first, second)
	e.run("zpool", "offline", e.zpool(), second)
	return func() {
		e.t.Helper()
		e.run("zpool", "online", e.zpool(), second)
		e.run("zpool", "wait", "-t", "resilver", e.zpool())
	}
}

// StateFile is the daemon's store.
func (e *Env) StateFile() string { return filepath.Join(e.Dir, "state/state.db") }

// DeletableImage makes a copy, under a name of its own, of the Docker image that
// clones run by default, and returns the name. remove deletes it, restore brings
// that very image back. It goes with the test.
func (e *Env) DeletableImage() (name string, remove, restore func()) {
	e.t.Helper()
	name = "cloned-test-" + filepath.Base(e.Dir) + ":1"
	saved := filepath.Join(e.Dir, "image.tar")
	container := strings.TrimSpace(e.run("docker", "create", "postgres:15", "true"))
	e.run("docker", "commit", container, name)
	e.run("docker", "rm", container)
	e.run("docker", "save", "-o", saved, name)
	e.t.Cleanup(func() {
		// It is gone already if the test ended just then.
		if out, err := exec.Command("docker", "rmi", "-f", name).CombinedOutput(); err != nil && !strings.Contains(string(out), "No such image") {
			e.t.Errorf("removing the image: %v: %s", err, out)
		}
	})
	return name, func() { e.t.Helper(); e.run("docker", "rmi", "-f", name) },
		func() { e.t.Helper(); e.run("docker", "load", "-i", saved) }
}

// Damage makes fn change the daemon's store, which must not run; back undoes it.
func (e *Env) Damage(fn func(raw []byte) []byte) (back func()) {
	e.t.Helper()
	raw, err := os.ReadFile(e.StateFile())
	if err != nil {
		e.t.Fatal(err)
	}
	write := func(raw []byte) {
		e.t.Helper()
		if err := os.WriteFile(e.StateFile(), raw, 0o600); err != nil {
			e.t.Fatal(err)
		}
	}
	changed := fn(append([]byte(nil), raw...))
	if string(changed) == string(raw) {
		e.t.Fatal(fmt.Errorf("nothing was changed"))
	}
	write(changed)
	return func() { write(raw) }
}

// MissingPool takes the pool away from a daemon that does not run; back brings it
// back.
func (e *Env) MissingPool() (back func()) {
	e.t.Helper()
	switch e.Driver {
	case "zfs":
		return e.TakePoolAway()
	case "btrfs":
		e.run("umount", e.poolMount())
		return e.moved(filepath.Join(e.Dir, "state/pool.btrfs"))
	default: // what is below a mount point
		volumes := filepath.Join(e.Dir, "state/volumes")
		back := e.moved(volumes)
		if err := os.Mkdir(volumes, 0o755); err != nil {
			e.t.Fatal(err)
		}
		return func() {
			e.t.Helper()
			if err := os.Remove(volumes); err != nil {
				e.t.Fatal(err)
			}
			back()
		}
	}
}

func (e *Env) moved(path string) (back func()) {
	e.t.Helper()
	if err := os.Rename(path, path+".away"); err != nil {
		e.t.Fatal(err)
	}
	return func() {
		e.t.Helper()
		if err := os.Rename(path+".away", path); err != nil {
			e.t.Fatal(err)
		}
	}
}

// RemoveContainer removes a clone's container behind the daemon's back.
func (e *Env) RemoveContainer(c Clone) {
	e.t.Helper()
	e.run("docker", "rm", "-f", "cloned-"+e.Instance+"-"+c.VolumeID())
}
