package tree

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Reflinks reports whether files in the directory dir can share blocks. It
// tries: only that tells, because it depends on how a filesystem was made.
func Reflinks(dir string) (bool, error) {
	var files [2]*os.File
	for i := range files {
		f, err := os.CreateTemp(dir, "reflink-")
		if err != nil {
			return false, err
		}
		defer f.Close()
		defer os.Remove(f.Name())
		files[i] = f
	}
	// Some filesystems clone an empty file and nothing else.
	if _, err := files[0].Write(make([]byte, 4096)); err != nil {
		return false, err
	}
	err := unix.IoctlFileClone(int(files[1].Fd()), int(files[0].Fd()))
	switch {
	case err == nil:
		return true, nil
	// What filesystems without reflinks answer: see ioctl_ficlone(2); overlayfs
	// and some network filesystems answer as if it were two filesystems.
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EINVAL),
		errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EXDEV):
		return false, nil
	default:
		return false, err
	}
}
