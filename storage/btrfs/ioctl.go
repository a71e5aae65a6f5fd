package btrfs

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// All of this is the kernel's interface: linux/btrfs.h. The numbers are those of
// the architectures with the common encoding of ioctls (among them amd64 and
// arm64): direction, size of the argument, 0x94, number.
const (
	iocWrite, iocRead = 1 << 30, 2 << 30
	iocMagic          = 0x94 << 8

	iocSubvolCreate  = iocWrite | 4096<<16 | iocMagic | 14
	iocSnapDestroy   = iocWrite | 4096<<16 | iocMagic | 15
	iocTreeSearchV2  = iocWrite | iocRead | 112<<16 | iocMagic | 17
	iocInoLookup     = iocWrite | iocRead | 4096<<16 | iocMagic | 18
	iocSnapCreateV2  = iocWrite | 4096<<16 | iocMagic | 23
	iocDevInfo       = iocWrite | iocRead | 4096<<16 | iocMagic | 30
	iocFSInfo        = iocRead | 1024<<16 | iocMagic | 31
	iocGetSubvolInfo = iocRead | 504<<16 | iocMagic | 60

	// subvolumeInode is the inode number of every subvolume's root directory
	// (BTRFS_FIRST_FREE_OBJECTID), topLevel the ID of the filesystem's first
	// subvolume (BTRFS_FS_TREE_OBJECTID).
	subvolumeInode = 256
	topLevel       = 5

	createReadOnly = 1 << 1 // BTRFS_SUBVOL_RDONLY, of a call
	rootReadOnly   = 1 << 0 // BTRFS_ROOT_SUBVOL_RDONLY, of a subvolume
)

type volArgs struct {
	_    int64 // fd
	name [4088]byte
}

type volArgsV2 struct {
	fd    int64
	_     uint64 // transid
	flags uint64
	_     [4]uint64
	name  [4040]byte
}

type timespec struct {
	sec  uint64
	nsec uint32
	_    uint32
}

type subvolInfo struct {
	treeID     uint64
	_          [256]byte // name
	_          [3]uint64 // parent_id, dirid, generation
	flags      uint64
	uuid       uuid
	parentUUID uuid
	_          uuid        // received_uuid
	_          uint64      // ctransid
	otransid   uint64      // the transaction of its making
	_          [2]uint64   // stransid, rtransid
	_          timespec    // ctime
	otime      timespec    // of its making
	_          [2]timespec // stime, rtime
	_          [8]uint64   // reserved
}

type fsInfo struct {
	_    [2]uint64 // max_id, num_devices
	fsid uuid
	_    [992]byte
}

type devInfo struct {
	devid uint64
	_     [4088 - 1024]byte
	path  [1024]byte
}

type uuid [16]byte

func (i *subvolInfo) created() time.Time { return time.Unix(int64(i.otime.sec), int64(i.otime.nsec)) }
func (i *subvolInfo) readOnly() bool     { return i.flags&rootReadOnly != 0 }

// ioctl makes the call on an open directory. arg is a pointer to one of the
// structs above.
func ioctl[T any](dir *os.File, op, name string, request uintptr, arg *T) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), request, uintptr(unsafe.Pointer(arg)))
	runtime.KeepAlive(dir)
	if errno != 0 {
		return &fs.PathError{Op: op, Path: dir.Name() + "/" + name, Err: errno}
	}
	return nil
}

// createSubvolume makes an empty subvolume in a directory.
func createSubvolume(dir *os.File, name string) error {
	var args volArgs
	copy(args.name[:], name)
	return ioctl(dir, "create subvolume", name, iocSubvolCreate, &args)
}

// createSnapshot makes a snapshot of the subvolume src in a directory.
func createSnapshot(src, dir *os.File, name string, readOnly bool) error {
	args := volArgsV2{fd: int64(src.Fd())}
	if readOnly {
		args.flags = createReadOnly
	}
	copy(args.name[:], name)
	defer runtime.KeepAlive(src)
	return ioctl(dir, "create snapshot", name, iocSnapCreateV2, &args)
}

// destroySubvolume destroys one in a directory. It never follows a link. errno
// is ENOTEMPTY if there are subvolumes in it.
func destroySubvolume(dir *os.File, name string) error {
	var args volArgs
	copy(args.name[:], name)
	return ioctl(dir, "destroy subvolume", name, iocSnapDestroy, &args)
}

// errNotSubvolume is for directories and whatever else.
var errNotSubvolume = errors.New("not a btrfs subvolume")

// describe returns what the kernel knows of a subvolume, open at its root.
func describe(subvolume *os.File) (subvolInfo, error) {
	var info subvolInfo
	ok, err := isSubvolume(subvolume)
	if err == nil && !ok {
		err = errNotSubvolume
	}
	if err != nil {
		return info, err
	}
	return info, ioctl(subvolume, "describe subvolume", "", iocGetSubvolInfo, &info)
}

// isSubvolume reports whether dir is the root of a btrfs subvolume.
func isSubvolume(dir *os.File) (bool, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &stat); err != nil {
		return false, &fs.PathError{Op: "stat", Path: dir.Name(), Err: err}
	}
	if stat.Ino != subvolumeInode {
		return false, nil
	}
	return isBtrfs(dir)
}

func isBtrfs(dir *os.File) (bool, error) {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &stat); err != nil {
		return false, &fs.PathError{Op: "statfs", Path: dir.Name(), Err: err}
	}
	return stat.Type == unix.BTRFS_SUPER_MAGIC, nil
}

// filesystem returns the UUID of the btrfs that dir lies in.
func filesystem(dir *os.File) (uuid, error) {
	var info fsInfo
	err := ioctl(dir, "describe filesystem", "", iocFSInfo, &info)
	return info.fsid, err
}

// firstDevice returns the path of the first device of the btrfs that dir lies
// in, as it was when it was mounted. A filesystem on a single device that was
// never replaced has no other.
func firstDevice(dir *os.File) (string, error) {
	info := devInfo{devid: 1}
	if err := ioctl(dir, "describe device", "", iocDevInfo, &info); err != nil {
		return "", err
	}
	return unix.ByteSliceToString(info.path[:]), nil
}
