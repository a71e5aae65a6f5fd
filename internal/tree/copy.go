package tree

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// chunk is how much is copied between two looks at the context, in bytes.
const chunk = 16 << 20

// Copy makes dst, which must not exist, a copy of the directory src: content
// with its holes, owners, modes, times of modification, symbolic and hard links,
// extended attributes (and so access control lists), pipes, sockets and devices.
// Who is not root gets what he may read, and owns it.
//
// With reflink all files share their blocks with the source until written to;
// it is an error if the filesystem can't (see Reflinks). What an error leaves of
// dst is for the caller to remove.
func Copy(ctx context.Context, src, dst string, reflink bool) error {
	return CopyPart(ctx, src, dst, Part{Reflink: reflink})
}

// Part says how to copy a part of a tree, and who hears of it.
type Part struct {
	// Reflink as for Copy.
	Reflink bool
	// Skip, if set, says which files and directories, by their path within the
	// source, are left out.
	Skip func(path string, info fs.FileInfo) bool
	// Copied, if set, is told of each piece of content that was copied, in bytes
	// of the files' sizes: holes and shared blocks count.
	Copied func(bytes int64)
}

// CopyPart is Copy for all that part.Skip does not leave out.
func CopyPart(ctx context.Context, src, dst string, part Part) error {
	root, err := os.OpenRoot(src)
	if err != nil {
		return err
	}
	defer root.Close()
	c := copier{ctx: ctx, src: root, dst: dst, part: part, links: map[inode]string{}}
	return c.dir(".")
}

// inode identifies a file that has several names.
type inode struct{ dev, ino uint64 }

type copier struct {
	ctx  context.Context
	src  *os.Root
	dst  string
	part Part
	// links holds the copy's path of each file with several names.
	links map[inode]string
}

// dir copies a directory, given by its path within the source.
func (c *copier) dir(rel string) error {
	from, err := c.open(rel, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	entries, err := from.ReadDir(-1)
	if err != nil {
		return err
	}
	path := filepath.Join(c.dst, rel)
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	for _, entry := range entries {
		if err := c.entry(filepath.Join(rel, entry.Name())); err != nil {
			return err
		}
	}
	// Last: making the entries above changed its times, and it may be read-only.
	to, err := os.Open(path)
	if err != nil {
		return err
	}
	defer to.Close()
	return finish(from, to, info)
}

// entry copies whatever has this path within the source.
func (c *copier) entry(rel string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	info, err := c.src.Lstat(rel)
	if err != nil {
		return err
	}
	if c.part.Skip != nil && c.part.Skip(rel, info) {
		return nil
	}
	if info.IsDir() {
		return c.dir(rel)
	}
	sys := info.Sys().(*syscall.Stat_t)
	path := filepath.Join(c.dst, rel)
	if sys.Nlink > 1 {
		id := inode{uint64(sys.Dev), sys.Ino}
		if first, ok := c.links[id]; ok {
			return os.Link(first, path)
		}
		c.links[id] = path
	}
	switch info.Mode().Type() {
	case 0:
		return c.file(rel, path)
	case fs.ModeSymlink:
		return c.symlink(rel, path, info)
	default:
		return node(path, info)
	}
}

// file copies a regular file.
func (c *copier) file(rel, path string) error {
	from, err := c.open(rel, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer to.Close()
	if c.part.Reflink {
		err = unix.IoctlFileClone(int(to.Fd()), int(from.Fd()))
		c.copied(info.Size())
	} else {
		err = c.content(from, to, info.Size())
	}
	if err != nil {
		return &fs.PathError{Op: "copy", Path: path, Err: err}
	}
	if err := finish(from, to, info); err != nil {
		return err
	}
	return to.Close()
}

// open opens something of the source for reading. It neither follows a link
// nor waits for a pipe that took the place of what Lstat saw.
func (c *copier) open(rel string, flags int) (*os.File, error) {
	return c.src.OpenFile(rel, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|flags, 0)
}

// content copies size bytes, leaving holes where the source has them. os.File
// lets the kernel do it (copy_file_range) where that works.
func (c *copier) content(from, to *os.File, size int64) error {
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(from.Fd()), at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			c.copied(size - at)
			break // nothing but a hole from here on
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(int(from.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		c.copied(data - at)
		if at, err = c.extent(from, to, data, min(hole, size)); err != nil {
			return err
		}
	}
	return to.Truncate(size)
}

// extent copies the bytes from begin to end and returns where to go on.
func (c *copier) extent(from, to *os.File, begin, end int64) (int64, error) {
	for _, f := range []*os.File{from, to} {
		if _, err := f.Seek(begin, io.SeekStart); err != nil {
			return begin, err
		}
	}
	for at := begin; at < end; {
		if err := c.ctx.Err(); err != nil {
			return at, err
		}
		n, err := io.CopyN(to, from, min(chunk, end-at))
		at += n
		c.copied(n)
		if err == io.EOF {
			return end, nil // the source shrank meanwhile
		}
		if err != nil {
			return at, err
		}
	}
	return end, nil
}

func (c *copier) copied(bytes int64) {
	if c.part.Copied != nil {
		c.part.Copied(bytes)
	}
}

func (c *copier) symlink(rel, path string, info fs.FileInfo) error {
	target, err := c.src.Readlink(rel)
	if err != nil {
		return err
	}
	if err := os.Symlink(target, path); err != nil {
		return err
	}
	return own(path, info)
}

// node makes a pipe, socket or device like the one described.
func node(path string, info fs.FileInfo) error {
	sys := info.Sys().(*syscall.Stat_t)
	if err := unix.Mknod(path, sys.Mode, int(sys.Rdev)); err != nil {
		return &fs.PathError{Op: "mknod", Path: path, Err: err}
	}
	if err := own(path, info); err != nil {
		return err
	}
	return os.Chmod(path, info.Mode())
}

// own gives path the owner described, if we may give files away.
func own(path string, info fs.FileInfo) error {
	if os.Geteuid() != 0 {
		return nil
	}
	sys := info.Sys().(*syscall.Stat_t)
	return os.Lchown(path, int(sys.Uid), int(sys.Gid))
}

// finish copies everything but the content. The order matters: a new owner
// clears capabilities and set-user-ID bits, and all of it changes times.
func finish(from, to *os.File, info fs.FileInfo) error {
	if err := own(to.Name(), info); err != nil {
		return err
	}
	if err := copyXattrs(from, to); err != nil {
		return fmt.Errorf("extended attributes of %s: %w", to.Name(), err)
	}
	if err := to.Chmod(info.Mode()); err != nil {
		return err
	}
	return os.Chtimes(to.Name(), info.ModTime(), info.ModTime())
}
