package btrfs

import (
	"context"
	"encoding/binary"
	"math"
	"os"
)

// descends reports whether a state came from the snapshot since. The state is
// the subvolume's of that UUID as of a transaction: a snapshot's parent as of the
// snapshot's making, or a volume as it is now.
//
// What came from a snapshot leads to it step by step: a volume was cloned from a
// snapshot, which was taken of a volume, which was cloned. A snapshot of the same
// volume that was taken earlier is on the way too. Where something on the way
// was destroyed nobody can tell any more, and it counts as no.
func descends(ctx context.Context, dir *os.File, of uuid, asOf uint64, since subvolInfo) (bool, error) {
	for {
		if of == since.parentUUID {
			return since.otransid <= asOf, nil
		}
		volume, found, err := rootOf(ctx, dir, of)
		if err != nil || !found || volume.parent == (uuid{}) {
			return false, err
		}
		if volume.parent == since.uuid {
			return true, nil
		}
		origin, found, err := rootOf(ctx, dir, volume.parent)
		if err != nil || !found {
			return false, err
		}
		of, asOf = origin.parent, origin.otransid
	}
}

// now is later than all transactions.
const now = math.MaxUint64

// rootOf looks up a subvolume by its UUID.
func rootOf(ctx context.Context, dir *os.File, id uuid) (root, bool, error) {
	at := key{binary.LittleEndian.Uint64(id[:8]), uuidSubvol, binary.LittleEndian.Uint64(id[8:])}
	_, ids, err := one(ctx, dir, uuidTree, at, at)
	if err != nil || ids == nil {
		return root{}, false, err
	}
	if len(ids) < 8 {
		return root{}, false, errShort
	}
	tree := binary.LittleEndian.Uint64(ids)
	_, item, err := one(ctx, dir, rootTree, key{tree, rootItem, 0}, key{tree, rootItem, math.MaxUint64})
	if err != nil || item == nil {
		return root{}, false, err
	}
	found, err := parseRoot(item)
	return found, err == nil && found.uuid == id, err
}
