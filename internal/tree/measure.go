package tree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Size is what a tree takes, in bytes.
type Size struct {
	// Unique is what it shares with no other tree; it contains directories and
	// no inodes. On filesystems that don't tell what is shared, everything is.
	Unique int64
	// Logical is the sum of the sizes of its files.
	Logical int64
}

// Measure measures the tree at path. What vanishes meanwhile is not counted.
func Measure(ctx context.Context, path string) (Size, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return Size{}, err
	}
	defer root.Close()
	m := measurer{ctx: ctx, root: root, seen: map[inode]bool{}}
	err = m.dir(".")
	return m.size, err
}

type measurer struct {
	ctx  context.Context
	root *os.Root
	seen map[inode]bool
	size Size
}

// dir adds a directory and all below it. (fs.WalkDir can't: it refuses names
// that are not UTF-8.)
func (m *measurer) dir(rel string) error {
	f, err := m.root.OpenFile(rel, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	m.size.Unique += blocks(info)
	entries, err := f.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := m.entry(filepath.Join(rel, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (m *measurer) entry(rel string) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	info, err := m.root.Lstat(rel)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return m.dir(rel)
	}
	if sys := info.Sys().(*syscall.Stat_t); sys.Nlink > 1 {
		id := inode{uint64(sys.Dev), sys.Ino}
		if m.seen[id] {
			return nil
		}
		m.seen[id] = true
	}
	unique := blocks(info)
	if info.Mode().IsRegular() {
		m.size.Logical += info.Size()
		if unique > 0 {
			if unique, err = m.unshared(rel, unique); err != nil {
				return err
			}
		}
	}
	m.size.Unique += unique
	return nil
}

// blocks returns what a file occupies, in bytes. The unit of st_blocks is 512
// whatever the filesystem's is: stat(2).
func blocks(info fs.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks * 512 }

// unshared returns how much of a file is its own; all of it where the
// filesystem doesn't tell.
func (m *measurer) unshared(rel string, all int64) (int64, error) {
	f, err := m.root.OpenFile(rel, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var own int64
	err = extents(f, func(e *fiemapExtent) {
		if e.flags&(extentShared|extentInline) == 0 {
			own += int64(e.length)
		}
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) {
		return all, nil
	}
	return own, err
}

// From linux/fiemap.h.
const (
	ioctlFiemap  = 0xc020660b // FS_IOC_FIEMAP
	extentLast   = 0x1
	extentInline = 0x200 // within metadata
	extentShared = 0x2000
)

type fiemapExtent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

// fiemap is struct fiemap with room for the answer.
type fiemap struct {
	start, length               uint64
	flags, mapped, count, spare uint32
	extents                     [256]fiemapExtent
}

// extents calls yield with each extent of the file.
func extents(f *os.File, yield func(*fiemapExtent)) error {
	var m fiemap
	for start := uint64(0); ; {
		m.start, m.length, m.flags, m.mapped, m.count = start, ^uint64(0)-start, 0, 0, uint32(len(m.extents))
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ioctlFiemap, uintptr(unsafe.Pointer(&m)))
		if errno != 0 {
			return &fs.PathError{Op: "fiemap", Path: f.Name(), Err: errno}
		}
		if m.mapped == 0 {
			return nil
		}
		for i := range m.mapped {
			yield(&m.extents[i])
		}
		last := m.extents[m.mapped-1]
		if last.flags&extentLast != 0 {
			return nil
		}
		start = last.logical + last.length
	}
}
