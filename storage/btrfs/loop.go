package btrfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
)

// mountOptions: see EnsurePool.
const mountOptions = "discard=async,commit=5"

// mountImage mounts the btrfs in a file. The loop device goes with the mount, or
// at once if we die before it is made: autoclear. Direct I/O keeps data from
// being held in memory twice, for the pool and for the file, and halves the time
// of a snapshot while clones write; where the file's filesystem can't, the
// kernel goes on without. (mount(8) can do neither by itself.)
func mountImage(file, dir string) error {
	image, err := os.OpenFile(file, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer image.Close()
	loop, err := attach(image)
	if err != nil {
		return err
	}
	defer loop.Close()
	err = unix.Mount(loop.Name(), dir, "btrfs", unix.MS_NOATIME, mountOptions)
	switch {
	case errors.Is(err, unix.EINVAL):
		return errs.New(errs.Precondition, "NOT_A_POOL", "%s holds no btrfs that this kernel can mount", file).
			WithHint("see the kernel's log; if it is no pool, move it away")
	case errors.Is(err, unix.ENODEV):
		return errs.New(errs.Precondition, "NO_BTRFS", "this kernel has no btrfs").
			WithHint("load the module btrfs, or use the dir driver")
	case err != nil:
		return &fs.PathError{Op: "mount", Path: file, Err: err}
	}
	return nil
}

// attach makes a loop device of a file and returns it open.
func attach(image *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	config := unix.LoopConfig{
		Fd:   uint32(image.Fd()),
		Size: poolBlock,
		Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO},
	}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], image.Name())
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a free loop device: %w", err)
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		if err == nil {
			return loop, nil
		}
		err = errors.Join(&fs.PathError{Op: "configure", Path: loop.Name(), Err: err}, loop.Close())
		if !errors.Is(err, unix.EBUSY) { // somebody else was faster
			return nil, err
		}
	}
}

// imageOf returns the file that holds the btrfs that dir lies in, through a loop
// device; "" if it is not in a file.
func imageOf(dir *os.File) (string, error) {
	device, err := firstDevice(dir)
	if errors.Is(err, unix.ENODEV) {
		return "", nil // several devices, and that one was removed
	}
	if err != nil {
		return "", err
	}
	image, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), "loop/backing_file"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSuffix(string(image), "\n"), err
}
