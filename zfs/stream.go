package zfs

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// The format of what `zfs send` sends: records of one size, some of them with a
// payload behind, from a beginning to an end (dmu_replay_record_t in
// include/sys/zfs_ioctl.h). Numbers are of the sender's byte order, which is ours.
// What zstream(8) prints of it is for people, and differs between versions.
const (
	recordSize  = 312
	recordMagic = 0x2f5bacbac

	recordBegin         = 0
	recordObject        = 1
	recordFreeObjects   = 2
	recordWrite         = 3
	recordFree          = 4
	recordEnd           = 5
	recordSpill         = 7
	recordWriteEmbedded = 8
)

// maxPayload bounds what a record writes or carries, in bytes: a block has at most
// 16 MiB, and what stands before all others less.
const maxPayload = 1 << 30

// written reads a stream and returns how much of each object it writes, in bytes
// before compression. A file's object has the number of its inode.
func written(stream io.Reader) (map[uint64]int64, error) {
	in := bufio.NewReaderSize(stream, 256<<10)
	found := map[uint64]int64{}
	var record [recordSize]byte
	for first := true; ; first = false {
		if _, err := io.ReadFull(in, record[:]); err != nil {
			return nil, fmt.Errorf("a stream of zfs send ends early: %w", err)
		}
		kind := binary.NativeEndian.Uint32(record[:])
		if first != (kind == recordBegin) {
			return nil, fmt.Errorf("a stream of zfs send has a record of type %d out of place", kind)
		}
		object, wrote, payload, err := readRecord(kind, record[:])
		if err != nil {
			return nil, err
		}
		if wrote < 0 || wrote > maxPayload || payload < 0 || payload > maxPayload {
			return nil, fmt.Errorf("a stream of zfs send has a record that writes %d bytes and carries %d", wrote, payload)
		}
		if wrote > 0 {
			found[object] += wrote
		}
		if _, err := io.CopyN(io.Discard, in, payload); err != nil {
			return nil, fmt.Errorf("a stream of zfs send ends early: %w", err)
		}
		if kind == recordEnd {
			break
		}
	}
	if n, err := io.Copy(io.Discard, in); err != nil || n != 0 {
		return nil, fmt.Errorf("a stream of zfs send goes on for %d bytes behind its end: %w", n, err)
	}
	return found, nil
}

// readRecord returns how much a record writes to which object, and the size of its
// payload.
func readRecord(kind uint32, record []byte) (object uint64, wrote, payload int64, err error) {
	body := record[8:]
	u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(body[at:]) }
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(body[at:]) }
	switch kind {
	case recordBegin:
		if u64(0) != recordMagic {
			return 0, 0, 0, fmt.Errorf("a stream of zfs send begins with %x", u64(0))
		}
		return 0, 0, int64(binary.NativeEndian.Uint32(record[4:])), nil
	case recordObject:
		if raw := u32(28); raw != 0 {
			return 0, 0, int64(raw), nil
		}
		return 0, 0, roundUp(u32(20)), nil
	case recordWrite:
		object, wrote, payload = u64(0), int64(u64(24)), int64(u64(24))
		if compressed := body[42] != 0; compressed {
			payload = int64(u64(88))
		}
		return object, wrote, payload, nil
	case recordWriteEmbedded:
		return u64(0), int64(u64(16)), roundUp(u32(44)), nil
	case recordSpill:
		if compressed := u64(32); compressed != 0 {
			return 0, 0, int64(compressed), nil
		}
		return 0, 0, int64(u64(8)), nil
	case recordFreeObjects, recordFree, recordEnd:
		return 0, 0, 0, nil
	}
	return 0, 0, 0, fmt.Errorf("a stream of zfs send has a record of unknown type %d", kind)
}

// roundUp returns the size of a payload that is padded to whole words.
func roundUp(n uint32) int64 { return (int64(n) + 7) &^ 7 }
