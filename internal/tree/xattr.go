package tree

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// xattrMax is the kernel's limit on a value and on the list of names, in bytes
// (XATTR_SIZE_MAX and XATTR_LIST_MAX in linux/limits.h).
const xattrMax = 64 << 10

// copyXattrs copies the extended attributes that we may set.
func copyXattrs(from, to *os.File) error {
	size, err := unix.Flistxattr(int(from.Fd()), nil)
	if errors.Is(err, unix.ENOTSUP) || err == nil && size == 0 {
		return nil
	}
	buf := make([]byte, xattrMax)
	size, err = unix.Flistxattr(int(from.Fd()), buf)
	if err != nil {
		return err
	}
	value := make([]byte, xattrMax)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:size]), "\x00"), "\x00") {
		if !settable(name) {
			continue
		}
		n, err := unix.Fgetxattr(int(from.Fd()), name, value)
		if err != nil {
			return err
		}
		if err := unix.Fsetxattr(int(to.Fd()), name, value[:n], 0); err != nil {
			return err
		}
	}
	return nil
}

// settable: all but a file's own attributes and access lists take privileges.
func settable(name string) bool {
	return os.Geteuid() == 0 || strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "system.posix_acl_")
}
