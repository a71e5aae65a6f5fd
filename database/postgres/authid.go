package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
)

// A cluster's first superuser has the OID 10 and whatever name its owner chose,
// and to log in one has to know it. Nothing but the table of roles has it, so
// that is read from its file, as far as needed: no visibility, no other columns.
// (A single-user server needs no name, but a user that its image knows.)

const (
	bootstrapOID  = 10   // BOOTSTRAP_SUPERUSERID
	authidOID     = 1260 // AuthIdRelationId
	mapMagic      = 0x592717
	maxAuthid     = 64 << 20 // bytes; a role takes some 120
	nameLength    = 64       // NAMEDATALEN
	linePointers  = 24       // where they begin on a page: SizeOfPageHeaderData
	tupleHoff     = 22       // offset of t_hoff in HeapTupleHeaderData
	normalPointer = 1        // LP_NORMAL
)

var errDamaged = errors.New("it is damaged")

// bootstrapNames returns the names that the first superuser has, or had before
// it was renamed. The server must have made a checkpoint since its recovery.
func bootstrapNames(data *os.Root) ([]string, error) {
	content, err := readFile(data, "global/pg_filenode.map", 8192)
	if err != nil {
		return nil, err
	}
	node, err := mappedFile(content, authidOID)
	if err != nil {
		return nil, fmt.Errorf("global/pg_filenode.map: %w", err)
	}
	table, err := readFile(data, "global/"+strconv.FormatUint(uint64(node), 10), maxAuthid)
	if err != nil {
		return nil, err
	}
	names := roleNames(table, bootstrapOID)
	if len(names) == 0 {
		return nil, fmt.Errorf("the table of roles: %w", errDamaged)
	}
	return names, nil
}

// mappedFile returns the number of the file that holds a catalog: RelMapFile in
// PostgreSQL's relmapper.c.
func mappedFile(content []byte, oid uint32) (uint32, error) {
	order := binary.LittleEndian
	if len(content) < 8 || order.Uint32(content) != mapMagic {
		return 0, errDamaged
	}
	count := order.Uint32(content[4:])
	for pair := content[8:]; count > 0 && len(pair) >= 8; count, pair = count-1, pair[8:] {
		if order.Uint32(pair) == oid {
			return order.Uint32(pair[4:]), nil
		}
	}
	return 0, errDamaged
}

// roleNames returns the names in all rows, dead or alive, of pg_authid that have
// the OID. The table's first columns are oid and rolname since version 12.
func roleNames(table []byte, oid uint32) []string {
	order := binary.LittleEndian
	var out []string
	for len(table) >= linePointers {
		size := int(order.Uint16(table[18:])) &^ 0xff // pd_pagesize_version
		if size < 1024 || size > len(table) {
			return out
		}
		page := table[:size]
		table = table[size:]
		lower := min(int(order.Uint16(page[12:])), size) // pd_lower
		for at := linePointers; at+4 <= lower; at += 4 {
			pointer := order.Uint32(page[at:])
			begin, flags := int(pointer&0x7fff), pointer>>15&3
			if flags != normalPointer || begin+tupleHoff >= size {
				continue
			}
			row := begin + int(page[begin+tupleHoff])
			if row+4+nameLength > size || order.Uint32(page[row:]) != oid {
				continue
			}
			name, _, _ := bytes.Cut(page[row+4:row+4+nameLength], []byte{0})
			if !slices.Contains(out, string(name)) {
				out = append(out, string(name))
			}
		}
	}
	return out
}
