package zfs

import (
	"bytes"
	"encoding/binary"
	"maps"
	"testing"
)

// record makes a record of a type, with numbers of 64 and 32 bits at their places
// behind the header, and so many bytes of payload.
func record(kind uint32, u64 map[int]uint64, u32 map[int]uint32, payload int) []byte {
	b := make([]byte, recordSize+payload)
	binary.NativeEndian.PutUint32(b, kind)
	for at, n := range u64 {
		binary.NativeEndian.PutUint64(b[8+at:], n)
	}
	for at, n := range u32 {
		binary.NativeEndian.PutUint32(b[8+at:], n)
	}
	return b
}

func beginning(payload int) []byte {
	b := record(recordBegin, map[int]uint64{0: recordMagic}, nil, payload)
	binary.NativeEndian.PutUint32(b[4:], uint32(payload))
	return b
}

func write(object, logical, compressed uint64) []byte {
	u64, payload := map[int]uint64{0: object, 24: logical}, logical
	if compressed != 0 {
		u64[88], payload = compressed, compressed
	}
	b := record(recordWrite, u64, nil, int(payload))
	if compressed != 0 {
		b[8+42] = 15
	}
	return b
}

func TestWritten(t *testing.T) {
	end := record(recordEnd, nil, nil, 0)
	parts := [][]byte{
		beginning(24),
		record(recordObject, map[int]uint64{0: 4}, map[int]uint32{20: 177}, 184),
		record(recordObject, map[int]uint64{0: 5}, map[int]uint32{20: 177, 28: 192}, 192),
		record(recordFree, map[int]uint64{0: 4, 8: 65536}, nil, 0),
		write(4, 16384, 0),
		write(4, 16384, 4096),
		record(recordFreeObjects, nil, nil, 0),
		record(recordSpill, map[int]uint64{0: 5, 8: 512}, nil, 512),
		record(recordSpill, map[int]uint64{0: 5, 8: 1024, 32: 512}, nil, 512),
		record(recordWriteEmbedded, map[int]uint64{0: 7, 16: 512}, map[int]uint32{44: 18}, 24),
		end,
	}
	whole := bytes.Join(parts, nil)
	got, err := written(bytes.NewReader(whole))
	if want := map[uint64]int64{4: 32768, 7: 512}; err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for n := 0; n < len(whole); n += 100 {
		if got, err := written(bytes.NewReader(whole[:n])); err == nil {
			t.Errorf("of the first %d bytes: %v", n, got)
		}
	}
	for what, stream := range map[string][][]byte{
		"more behind the end":    {whole, []byte("x")},
		"another beginning":      {beginning(0), beginning(0), end},
		"no beginning":           {write(4, 512, 0), end},
		"another magic number":   {record(recordBegin, nil, nil, 0), end},
		"a reference to a block": {beginning(0), record(6, nil, nil, 0), end},
		"an unknown record":      {beginning(0), record(11, nil, nil, 0), end},
	} {
		if got, err := written(bytes.NewReader(bytes.Join(stream, nil))); err == nil {
			t.Errorf("%s: %v", what, got)
		}
	}
}
