package zfs

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/need"
)

// disk is a device that can be made to fail.
type disk struct {
	name, loop, sectors string
}

// newDisk makes a device over the pool's file.
func newDisk(t *testing.T, p pool) disk {
	t.Helper()
	k := disk{name: p.name, loop: sh(t, "losetup", "-f", "--show", p.disk)}
	t.Cleanup(func() { sh(t, "losetup", "-d", k.loop) })
	k.sectors = sh(t, "blockdev", "--getsz", k.loop)
	sh(t, "dmsetup", "create", k.name, "--table", "0 "+k.sectors+" linear "+k.loop+" 0")
	t.Cleanup(func() { sh(t, "dmsetup", "remove", k.name) })
	return k
}

func (k disk) fails(t *testing.T) { t.Helper(); k.becomes(t, "error") }
func (k disk) works(t *testing.T) { t.Helper(); k.becomes(t, "linear "+k.loop+" 0") }

func (k disk) becomes(t *testing.T, target string) {
	t.Helper()
	sh(t, "dmsetup", "suspend", "--noflush", k.name)
	sh(t, "dmsetup", "load", k.name, "--table", "0 "+k.sectors+" "+target)
	sh(t, "dmsetup", "resume", k.name)
}

// A pool whose disk is gone is suspended: the command that notices hangs in the
// kernel, where no signal reaches it, and all others are refused.
func TestNothingIsGoneWhileThePoolIsSuspended(t *testing.T) {
	need.ZFS(t)
	if exec.Command("modprobe", "dm-mod").Run() != nil || exec.Command("dmsetup", "version").Run() != nil {
		t.Skip("no device mapper to make a disk fail with")
	}
	var k disk
	p := newPoolOn(t, 128, func(p pool) string {
		k = newDisk(t, p)
		return "/dev/mapper/" + k.name
	})
	d := p.open(t, "i-1")
	_, snap := golden(t, d)

	k.fails(t)
	repair := func() {
		k.works(t)
		sh(t, "zpool", "clear", p.name)
	}
	t.Cleanup(func() {
		if t.Failed() {
			repair()
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	begin := time.Now()
	if _, err := d.Create(ctx, "g-2"); !errs.Is(err, errs.Unavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the call that hangs: %v", err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it held on for %v", took)
	}
	wantUnavailable(t, d, snap, "suspended")
	if health, err := d.Health(t.Context()); health != "SUSPENDED" || err != nil {
		t.Errorf("health is %q, %v", health, err)
	}

	repair()
	if _, err := d.Create(t.Context(), "g-2"); err != nil {
		t.Fatalf("the same call after repair: %v", err)
	}
	if err := d.Destroy(t.Context(), "g-2"); err != nil {
		t.Fatal(err)
	}
	wantWhole(t, d, "repaired")
}
