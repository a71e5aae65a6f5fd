package btrfs

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// key is where an item stands in a tree: they are ordered by object, kind and
// offset. What these are depends on the kind (linux/btrfs_tree.h).
type key struct {
	object uint64
	kind   uint8
	offset uint64
}

// next returns the key that follows; false after the last.
func (k key) next() (key, bool) {
	switch {
	case k.offset < math.MaxUint64:
		return key{k.object, k.kind, k.offset + 1}, true
	case k.kind < math.MaxUint8:
		return key{k.object, k.kind + 1, 0}, true
	default:
		return key{k.object + 1, 0, 0}, k.object < math.MaxUint64
	}
}

func (k key) after(last key) bool {
	if k.object != last.object {
		return k.object > last.object
	}
	if k.kind != last.kind {
		return k.kind > last.kind
	}
	return k.offset > last.offset
}

// searchArgs is struct btrfs_ioctl_search_args_v2. Items take at most a block of
// metadata, 64 KiB, and what stands before each.
type searchArgs struct {
	tree                 uint64
	minObject, maxObject uint64
	minOffset, maxOffset uint64
	minTransid           uint64
	maxTransid           uint64
	minKind, maxKind     uint32
	items                uint32
	_                    uint32
	_                    [4]uint64
	size                 uint64
	buf                  [128 << 10]byte
}

// searchHeader is the size of what stands before each item (struct
// btrfs_ioctl_search_header): transid, objectid, offset, type, len.
const searchHeader = 8 + 8 + 8 + 4 + 4

// search calls do with each item of a tree from first to last, in their order.
// With since set it passes over the blocks that were last written before that
// generation, and over all below them: what it costs is in proportion to what
// was written since. Such a block also holds items that are older. The bytes of
// an item are good until do returns.
func search(ctx context.Context, dir *os.File, tree, since uint64, first, last key, do func(key, []byte) error) error {
	args := new(searchArgs)
	for at, more := first, true; more && !at.after(last); {
		if err := ctx.Err(); err != nil {
			return err
		}
		args.tree = tree
		args.minObject, args.minKind, args.minOffset = at.object, uint32(at.kind), at.offset
		args.maxObject, args.maxKind, args.maxOffset = last.object, uint32(last.kind), last.offset
		args.minTransid, args.maxTransid = since, math.MaxUint64
		args.items, args.size = math.MaxUint32, uint64(len(args.buf))
		if err := ioctl(dir, "search tree", fmt.Sprint(tree), iocTreeSearchV2, args); err != nil {
			return err
		}
		if args.items == 0 {
			return nil
		}
		end, err := each(args.buf[:], int(args.items), do)
		if err != nil {
			return err
		}
		at, more = end.next()
	}
	return nil
}

// each reads n items and returns the key of the last.
func each(buf []byte, n int, do func(key, []byte) error) (key, error) {
	var at key
	for range n {
		if len(buf) < searchHeader {
			return at, errShort
		}
		size := int(binary.NativeEndian.Uint32(buf[28:]))
		kind := binary.NativeEndian.Uint32(buf[24:])
		at = key{binary.NativeEndian.Uint64(buf[8:]), uint8(kind), binary.NativeEndian.Uint64(buf[16:])}
		buf = buf[searchHeader:]
		if kind > math.MaxUint8 || size > len(buf) {
			return at, errShort
		}
		if err := do(at, buf[:size:size]); err != nil {
			return at, err
		}
		buf = buf[size:]
	}
	return at, nil
}

// one looks up the first item from first to last; nil if there is none.
func one(ctx context.Context, dir *os.File, tree uint64, first, last key) (k key, item []byte, err error) {
	err = search(ctx, dir, tree, 0, first, last, func(at key, data []byte) error {
		if item == nil {
			k, item = at, append([]byte{}, data...)
		}
		return nil
	})
	return k, item, err
}

// inoLookupArgs is struct btrfs_ioctl_ino_lookup_args.
type inoLookupArgs struct {
	tree, object uint64
	name         [4080]byte
}

// pathOf returns the path of an inode in its subvolume, "" for the root; of one
// with several names, one of them.
func pathOf(dir *os.File, tree, inode uint64) (string, error) {
	if inode == subvolumeInode {
		return "", nil
	}
	args := &inoLookupArgs{tree: tree, object: inode}
	if err := ioctl(dir, "look up inode", fmt.Sprint(inode), iocInoLookup, args); err != nil {
		return "", err
	}
	return strings.TrimSuffix(unix.ByteSliceToString(args.name[:]), "/"), nil
}
