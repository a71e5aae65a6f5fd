package postgres

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/container"
)

// maxConf bounds how much of a file of settings is read, in bytes.
const maxConf = 1 << 20

// readFile returns the content of a regular file of at most limit bytes below
// root. It never follows a link out of root.
func readFile(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return content, nil
}

// openRegular opens a regular file below root for reading. Anything else is not
// even opened: a pipe would be waited for, and to open a device can do things.
func openRegular(root *os.Root, name string) (*os.File, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(int(dir.Fd()), name, &how)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	found := os.NewFile(uintptr(fd), name)
	defer found.Close()
	info, err := found.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	return os.OpenFile("/proc/self/fd/"+strconv.Itoa(fd), os.O_RDONLY|unix.O_NONBLOCK, 0)
}

// writeFile puts a file below root in place of whatever has that name; only its
// owner may read it.
func writeFile(root *os.Root, name, content string, owner container.User) error {
	if err := root.RemoveAll(name); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		return err
	}
	if err := chown(f, owner); err != nil {
		return err
	}
	return f.Close()
}

// makeDir puts an empty directory below root in place of whatever has that
// name; only its owner may enter it.
func makeDir(root *os.Root, name string, owner container.User) error {
	if err := root.RemoveAll(name); err != nil {
		return err
	}
	if err := root.Mkdir(name, 0o700); err != nil {
		return err
	}
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return chown(f, owner)
}

// chown gives an open file away, if we may.
func chown(f *os.File, owner container.User) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return f.Chown(owner.UID, owner.GID)
}

// ownerOf returns whose a file is.
func ownerOf(info fs.FileInfo) container.User {
	sys := info.Sys().(*syscall.Stat_t) // what os.Stat has on Linux
	return container.User{UID: int(sys.Uid), GID: int(sys.Gid)}
}

// exists says whether there is something of that name below root.
func exists(root *os.Root, name string) (bool, error) {
	_, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// names returns the entries of a directory below root; none if it is absent.
func names(root *os.Root, dir string) ([]string, error) {
	f, err := root.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}
