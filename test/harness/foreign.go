package harness

import (
	"path/filepath"
	"strings"
)

// ForeignDataset makes a dataset that is not the daemon's, in its pool, and
// returns its name, as operators give it, and where it is mounted.
func (e *Env) ForeignDataset(name string) (dataset, mount string) {
	e.t.Helper()
	if e.Driver == "zfs" {
		dataset = e.zpool() + "/" + name
		mount = filepath.Join(e.Dir, "z", name)
		e.run("zfs", "create", "-o", "mountpoint="+mount, dataset)
		return dataset, mount
	}
	mount = filepath.Join(e.poolMount(), name)
	e.run("btrfs", "subvolume", "create", mount)
	return mount, mount
}

// ForeignSnapshot takes a snapshot of a foreign dataset that is not ours.
func (e *Env) ForeignSnapshot(dataset, name string) string {
	e.t.Helper()
	if e.Driver == "zfs" {
		e.run("zfs", "snapshot", dataset+"@"+name)
		return "@" + name
	}
	e.run("btrfs", "subvolume", "snapshot", "-r", dataset, dataset+"-"+name)
	return dataset + "-" + name
}

// ForeignSnapshots lists all snapshots of a foreign dataset, whoever's.
func (e *Env) ForeignSnapshots(dataset string) []string {
	e.t.Helper()
	if e.Driver == "zfs" {
		return strings.Fields(e.run("zfs", "list", "-H", "-t", "snapshot", "-o", "name", dataset))
	}
	id := ""
	for line := range strings.Lines(e.run("btrfs", "subvolume", "show", dataset)) {
		if uuid, ok := strings.CutPrefix(strings.TrimSpace(line), "UUID:"); ok {
			id = strings.TrimSpace(uuid)
		}
	}
	var found []string
	for line := range strings.Lines(e.run("btrfs", "subvolume", "list", "-q", e.poolMount())) {
		if f := strings.Fields(line); strings.Contains(line, "parent_uuid "+id) {
			found = append(found, filepath.Join(e.poolMount(), f[len(f)-1]))
		}
	}
	return found
}

// RemoveForeign destroys a foreign dataset with its snapshots.
func (e *Env) RemoveForeign(dataset string) {
	e.t.Helper()
	if e.Driver == "zfs" {
		e.run("zfs", "destroy", "-r", dataset)
		return
	}
	for _, snapshot := range e.ForeignSnapshots(dataset) {
		e.run("btrfs", "subvolume", "delete", snapshot)
	}
	e.run("btrfs", "subvolume", "delete", dataset)
}

// NoSuchDataset is a well-formed name of a dataset that does not exist.
func (e *Env) NoSuchDataset() string {
	if e.Driver == "zfs" {
		return e.zpool() + "/nosuch"
	}
	return filepath.Join(e.Dir, "nosuch")
}
