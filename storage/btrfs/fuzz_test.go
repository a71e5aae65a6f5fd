package btrfs

import (
	"encoding/binary"
	"testing"
)

// FuzzItems: whatever the kernel answers to a search, which it reads from a disk
// that may be damaged, each item is read within its bytes or is an error.
func FuzzItems(f *testing.F) {
	item := func(kind uint32, size int) []byte {
		b := make([]byte, searchHeader+size)
		binary.NativeEndian.PutUint32(b[24:], kind)
		binary.NativeEndian.PutUint32(b[28:], uint32(size))
		return b
	}
	f.Add(append(item(inodeItem, 160), item(extentData, 53)...), uint32(2))
	f.Add(append(item(dirIndex, 34), item(rootItem, 439)...), uint32(3))
	f.Add([]byte{}, uint32(1))
	f.Fuzz(func(t *testing.T, answer []byte, items uint32) {
		total := 0
		_, err := each(answer, int(items), func(k key, b []byte) error {
			if total += searchHeader + len(b); total > len(answer) || cap(b) != len(b) {
				t.Errorf("an item of %d bytes, %d in all of %d", len(b), total, len(answer))
			}
			if i, err := parseInode(b); err == nil && i.size < 0 {
				t.Errorf("an inode of %d bytes", i.size)
			}
			if _, n, err := parseExtent(b); err == nil && n < 0 {
				t.Errorf("an extent of %d bytes", n)
			}
			if name, _, _, err := parseEntry(b); err == nil && len(name) > len(b) {
				t.Errorf("a name of %d bytes in %d", len(name), len(b))
			}
			_, _ = parseRoot(b)
			if next, more := k.next(); more && !next.after(k) {
				t.Errorf("%+v comes after %+v", next, k)
			}
			return nil
		})
		if err == nil && int(items)*searchHeader > len(answer) {
			t.Errorf("%d items in %d bytes", items, len(answer))
		}
	})
}
