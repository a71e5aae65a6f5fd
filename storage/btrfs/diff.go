package btrfs

import (
	"context"
	"math"
	"os"
	"path"

	"github.com/cloned-db/cloned/internal/changes"
	"github.com/cloned-db/cloned/storage"
)

// differ compares two snapshots of which the one descends from the other.
//
// Each block of a subvolume's tree bears the generation in which it was written,
// and each inode and each piece of a file its own: what is newer than the older
// snapshot was written since. Names have none that would tell of their removal:
// the directories whose inode is newer are compared name by name.
type differ struct {
	ctx context.Context
	dir *os.File
	// since and until are the two trees, after the generation of the older one.
	since, until, after uint64

	written map[uint64]*written // by inode
	set     changes.Set
	// inodes holds what is told of in set as being in until.
	inodes map[string]uint64
}

// written is an inode of until that was written since.
type written struct {
	inode inode
	bytes int64
}

func diff(ctx context.Context, dir *os.File, since, until subvolInfo) ([]storage.FileChange, error) {
	d := differ{
		ctx: ctx, dir: dir, since: since.treeID, until: until.treeID, after: since.otransid,
		written: map[uint64]*written{}, inodes: map[string]uint64{},
	}
	// Names first: whether a written file was there before shows only then.
	for _, step := range []func() error{d.scan, d.names, d.contents} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return d.list()
}

// scan finds what was written.
func (d *differ) scan() error {
	first, last := key{object: subvolumeInode}, key{lastInode, math.MaxUint8, math.MaxUint64}
	err := search(d.ctx, d.dir, d.until, d.after+1, first, last, func(at key, item []byte) error {
		switch at.kind {
		case inodeItem:
			i, err := parseInode(item)
			if err == nil && i.transid > d.after {
				d.at(at.object).inode = i
			}
			return err
		case extentData:
			generation, bytes, err := parseExtent(item)
			if err == nil && generation > d.after {
				d.at(at.object).bytes += bytes
			}
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	for number, w := range d.written {
		if w.inode.mode != 0 {
			continue
		}
		if w.inode, err = d.inode(d.until, number); err != nil {
			return err
		}
	}
	return nil
}

func (d *differ) at(inode uint64) *written {
	w := d.written[inode]
	if w == nil {
		w = new(written)
		d.written[inode] = w
	}
	return w
}

// names compares the directories.
func (d *differ) names() error {
	for number, w := range d.written {
		if !w.inode.isDir() || w.inode.links == 0 {
			continue
		}
		before, err := d.entries(d.since, number)
		if err != nil {
			return err
		}
		after, err := d.entries(d.until, number)
		if err != nil {
			return err
		}
		if err := d.moved(d.since, number, before, after, d.lost); err != nil {
			return err
		}
		if err := d.moved(d.until, number, after, before, d.gained); err != nil {
			return err
		}
	}
	return nil
}

// moved tells of the entries of a directory that are not among the others.
func (d *differ) moved(tree, dir uint64, entries, others map[string]entry, tell func(string, entry) error) error {
	at, looked := "", false
	for name, e := range entries {
		if others[name] == e {
			continue
		}
		if !looked {
			var err error
			if at, err = pathOf(d.dir, tree, dir); err != nil {
				return err
			}
			looked = true
		}
		if err := tell(path.Join(at, name), e); err != nil {
			return err
		}
	}
	return nil
}

// lost tells of a path that since had; of a directory, with all in it.
func (d *differ) lost(at string, e entry) error {
	if !e.dir {
		d.set.Was(at)
		return nil
	}
	return d.walk(d.since, at, e, d.lost)
}

// gained tells of a path that until has.
func (d *differ) gained(at string, e entry) error {
	if !e.dir {
		d.set.Is(at)
		d.inodes[at] = e.inode
		return nil
	}
	return d.walk(d.until, at, e, d.gained)
}

func (d *differ) walk(tree uint64, at string, dir entry, tell func(string, entry) error) error {
	entries, err := d.entries(tree, dir.inode)
	if err != nil {
		return err
	}
	for name, e := range entries {
		if err := tell(path.Join(at, name), e); err != nil {
			return err
		}
	}
	return nil
}

// contents tells of the files that were written and keep their name.
func (d *differ) contents() error {
	for number, w := range d.written {
		if w.inode.isDir() || w.inode.links == 0 {
			continue
		}
		if w.bytes == 0 {
			// Reading may write too: the time of access.
			before, err := d.inode(d.since, number)
			if err != nil {
				return err
			}
			if before.born == w.inode.born && before.ctime == w.inode.ctime {
				continue
			}
		}
		at, err := pathOf(d.dir, d.until, number)
		if err != nil {
			return err
		}
		if _, told := d.inodes[at]; !told {
			d.set.Was(at)
			d.set.Is(at)
			d.inodes[at] = number
		}
	}
	return nil
}

// list describes what is told of.
func (d *differ) list() ([]storage.FileChange, error) {
	var list []storage.FileChange
	err := d.set.Each(func(path string, was, is bool) error {
		c := storage.FileChange{Path: path, Created: !was, Removed: !is}
		if number := d.inodes[path]; is {
			w := d.written[number]
			if w == nil {
				i, err := d.inode(d.until, number)
				if err != nil {
					return err
				}
				w = &written{inode: i}
			}
			c.Bytes, c.Size = w.bytes, w.inode.size
		}
		list = append(list, c)
		return nil
	})
	return list, err
}

// inode looks up an inode; the zero value if the tree has none of that number.
func (d *differ) inode(tree, number uint64) (inode, error) {
	_, item, err := one(d.ctx, d.dir, tree, key{number, inodeItem, 0}, key{number, inodeItem, 0})
	if err != nil || item == nil {
		return inode{}, err
	}
	return parseInode(item)
}

// entries returns what a directory holds; nothing if there is no such directory.
func (d *differ) entries(tree, dir uint64) (map[string]entry, error) {
	found := map[string]entry{}
	err := search(d.ctx, d.dir, tree, 0, key{dir, dirIndex, 0}, key{dir, dirIndex, math.MaxUint64}, func(_ key, item []byte) error {
		name, e, ok, err := parseEntry(item)
		if ok {
			found[name] = e
		}
		return err
	})
	return found, err
}
