package btrfs

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// The trees, and the kinds of items in them, as far as they are read here
// (linux/btrfs_tree.h). What is on disk is little endian and packed.
const (
	rootTree = 1 // of a root item for each subvolume
	uuidTree = 9 // from subvolumes' UUIDs to their IDs

	inodeItem  = 1   // of each inode
	dirIndex   = 96  // of each name in a directory
	extentData = 108 // of each piece of a file
	rootItem   = 132
	uuidSubvol = 251

	// lastInode is the highest number of an inode (BTRFS_LAST_FREE_OBJECTID).
	lastInode = 1<<64 - 256
)

// errShort is for an item that can't be: one smaller than what it must hold, or
// with a length that is none.
var errShort = errors.New("the kernel returned an item of btrfs that can't be read")

// inode is what is read of struct btrfs_inode_item.
type inode struct {
	transid uint64 // of its last change
	size    int64
	links   uint32
	mode    uint32
	ctime   [12]byte
	born    uint64
}

func (i inode) isDir() bool { return i.mode&unix.S_IFMT == unix.S_IFDIR }

func parseInode(b []byte) (inode, error) {
	if len(b) < 160 {
		return inode{}, errShort
	}
	size := int64(binary.LittleEndian.Uint64(b[16:]))
	if size < 0 {
		return inode{}, errShort
	}
	return inode{
		born:    binary.LittleEndian.Uint64(b),
		transid: binary.LittleEndian.Uint64(b[8:]),
		size:    size,
		links:   binary.LittleEndian.Uint32(b[40:]),
		mode:    binary.LittleEndian.Uint32(b[52:]),
		ctime:   [12]byte(b[124:]),
	}, nil
}

// parseExtent returns the generation in which a piece of a file (struct
// btrfs_file_extent_item) was written, and its length; 0 for a hole.
func parseExtent(b []byte) (generation uint64, bytes int64, err error) {
	const inline = 0
	if len(b) < 21 {
		return 0, 0, errShort
	}
	generation = binary.LittleEndian.Uint64(b)
	switch {
	case b[20] == inline:
		bytes = int64(binary.LittleEndian.Uint64(b[8:]))
	case len(b) < 53:
		return 0, 0, errShort
	case binary.LittleEndian.Uint64(b[21:]) != 0: // its place; a hole has none
		bytes = int64(binary.LittleEndian.Uint64(b[45:]))
	}
	if bytes < 0 {
		return 0, 0, errShort
	}
	return generation, bytes, nil
}

// entry is what a name in a directory stands for.
type entry struct {
	inode uint64
	dir   bool
}

// parseEntry reads a name (struct btrfs_dir_item). ok is false for the place of
// a nested subvolume, which is not part of this one.
func parseEntry(b []byte) (name string, e entry, ok bool, err error) {
	const isDir = 2 // BTRFS_FT_DIR
	if len(b) < 30 {
		return "", entry{}, false, errShort
	}
	length := int(binary.LittleEndian.Uint16(b[27:]))
	if len(b) < 30+length {
		return "", entry{}, false, errShort
	}
	e = entry{inode: binary.LittleEndian.Uint64(b), dir: b[29] == isDir}
	return string(b[30 : 30+length]), e, b[8] == inodeItem, nil
}

// root is what is read of struct btrfs_root_item.
type root struct {
	uuid, parent uuid
	otransid     uint64
}

func parseRoot(b []byte) (root, error) {
	if len(b) < 311 {
		return root{}, errShort
	}
	return root{uuid: uuid(b[247:]), parent: uuid(b[263:]), otransid: binary.LittleEndian.Uint64(b[303:])}, nil
}
