package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// The file's format is bbolt's, which has not changed since 2014: pages, of which
// the first two are heads that are written in turns, each with a checksum. What
// follows them has none, and bbolt takes it for good: one flipped bit has it read
// beyond the file, or go round in circles. So it is looked at before bbolt does.
const (
	pageHeader   = 16 // ID 8, kind 2, number of elements 2, pages that follow 4
	elementSize  = 16
	headSize     = 64
	headMagic    = 0xED0CDAED
	headVersion  = 2
	bucketHeader = 16 // root page 8, sequence 8

	kindBranch   = 0x01
	kindLeaf     = 0x02
	kindFreelist = 0x10

	elementIsBucket = 0x01
	// manyFree says that the first of a list of free pages is their number.
	manyFree = 0xFFFF
)

// order is that of the machine: bbolt maps its structures.
var order = binary.NativeEndian

// head is what one of the two heads says.
type head struct {
	pageSize                   uint64
	root, free, end, changeNum uint64
}

// parseHead reads the head in a page.
func parseHead(page []byte) (head, error) {
	if len(page) < pageHeader+headSize {
		return head{}, errors.New("it is too short to be a state")
	}
	b := page[pageHeader:][:headSize]
	sum := fnv.New64a()
	sum.Write(b[:56])
	if order.Uint32(b) != headMagic || order.Uint32(b[4:]) != headVersion || order.Uint64(b[56:]) != sum.Sum64() {
		return head{}, errors.New("a head is damaged")
	}
	return head{
		pageSize: uint64(order.Uint32(b[8:])), root: order.Uint64(b[16:]),
		free: order.Uint64(b[32:]), end: order.Uint64(b[40:]), changeNum: order.Uint64(b[48:]),
	}, nil
}

// pages is a file that is looked at.
type pages struct {
	raw  []byte
	head head
	seen map[uint64]bool
}

// checkPages returns an error unless each page can be reached in one way, and
// nothing leads out of it. A damaged head is an error too, though the other one
// would do: that is the state before the last change, and what the last change
// made would be nobody's.
func checkPages(raw []byte) error {
	h, err := parseHead(raw)
	if err != nil {
		return err
	}
	if h.pageSize < 1024 || uint64(len(raw)) < 2*h.pageSize {
		return errors.New("it is too short to be a state")
	}
	other, err := parseHead(raw[h.pageSize:])
	if err != nil {
		return err
	}
	if other.changeNum > h.changeNum {
		h = other
	}
	if have, need := uint64(len(raw))/h.pageSize, h.end; have < need {
		return fmt.Errorf("it has %d pages instead of %d", have, need)
	}
	p := &pages{raw: raw, head: h, seen: map[uint64]bool{}}
	return errors.Join(p.freelist(h.free), p.tree(h.root))
}

// page returns a page, with those that belong to it.
func (p *pages) page(id uint64) (page []byte, kind uint16, count uint64, err error) {
	if id < 2 || id >= p.head.end {
		return nil, 0, 0, fmt.Errorf("page %d is none", id)
	}
	page = p.raw[id*p.head.pageSize:]
	kind, count = order.Uint16(page[8:]), uint64(order.Uint16(page[10:]))
	pages := 1 + uint64(order.Uint32(page[12:]))
	if order.Uint64(page) != id || pages > p.head.end-id {
		return nil, 0, 0, fmt.Errorf("page %d is damaged", id)
	}
	for i := range pages {
		if p.seen[id+i] {
			return nil, 0, 0, fmt.Errorf("page %d is used twice", id+i)
		}
		p.seen[id+i] = true
	}
	return page[:pages*p.head.pageSize], kind, count, nil
}

// freelist looks at the list of free pages.
func (p *pages) freelist(id uint64) error {
	page, kind, count, err := p.page(id)
	if err != nil {
		return err
	}
	list := page[pageHeader:]
	if count == manyFree {
		count, list = order.Uint64(list), list[8:]
	}
	if kind != kindFreelist || count > uint64(len(list))/8 {
		return fmt.Errorf("page %d is no list of free pages", id)
	}
	free := map[uint64]bool{}
	for i := range count {
		f := order.Uint64(list[8*i:])
		if f < 2 || f >= p.head.end || free[f] {
			return fmt.Errorf("page %d, that is free, is none", f)
		}
		free[f] = true
	}
	return nil
}

// tree looks at a page and what is below it.
func (p *pages) tree(id uint64) error {
	page, kind, count, err := p.page(id)
	if err != nil {
		return err
	}
	switch kind {
	case kindLeaf:
		return p.leaf(page, id, count)
	case kindBranch:
		return p.branch(page, id, count)
	}
	return fmt.Errorf("page %d is no part of a tree", id)
}

func (p *pages) branch(page []byte, id, count uint64) error {
	if count == 0 || pageHeader+count*elementSize > uint64(len(page)) {
		return fmt.Errorf("page %d has %d elements", id, count)
	}
	for i := range count {
		at := pageHeader + i*elementSize
		e := page[at:]
		if _, err := within(e, uint64(order.Uint32(e)), uint64(order.Uint32(e[4:]))); err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		if err := p.tree(order.Uint64(e[8:])); err != nil {
			return err
		}
	}
	return nil
}

// leaf looks at a page of keys and values; id says in which page it is.
func (p *pages) leaf(page []byte, id, count uint64) error {
	if pageHeader+count*elementSize > uint64(len(page)) {
		return fmt.Errorf("page %d has %d elements", id, count)
	}
	for i := range count {
		e := page[pageHeader+i*elementSize:]
		key := uint64(order.Uint32(e[8:]))
		both, err := within(e, uint64(order.Uint32(e[4:])), key+uint64(order.Uint32(e[12:])))
		if err == nil && order.Uint32(e)&elementIsBucket != 0 {
			err = p.bucket(both[key:], id)
		}
		if err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
	}
	return nil
}

// bucket looks at a bucket: a small one is a page of its own within the value.
func (p *pages) bucket(value []byte, id uint64) error {
	if len(value) < bucketHeader {
		return errors.New("a bucket is too short")
	}
	if root := order.Uint64(value); root != 0 {
		return p.tree(root)
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader || order.Uint16(inline[8:]) != kindLeaf {
		return errors.New("a bucket is damaged")
	}
	return p.leaf(inline, id, uint64(order.Uint16(inline[10:])))
}

// within returns length bytes at offset from an element.
func within(element []byte, offset, length uint64) ([]byte, error) {
	if offset+length > uint64(len(element)) {
		return nil, errors.New("an element leads out of it")
	}
	return element[offset:][:length], nil
}
