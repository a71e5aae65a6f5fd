package zfs

import (
	"context"
	"io/fs"
	"path/filepath"

	"github.com/cloned-db/cloned/internal/changes"
)

// comparison is of two snapshots, the one taken of the other's volume or of a
// clone of it.
//
// `zfs diff` names what may have changed, and the snapshots themselves say what
// each name stands for in them. It does not tell of a file that was removed and
// is still open, nor of all names of a file that has several, and of a directory
// that was moved it tells nothing of what is in it: therefore the names in each
// directory of which it tells are looked at too.
type comparison struct {
	ctx           context.Context
	before, after *view
	set           changes.Set
	// looked holds the directories that are done, by view.
	looked map[*view]map[string]bool
}

func (d *Driver) compare(ctx context.Context, before, after *view) (changes.Set, error) {
	c := comparison{ctx: ctx, before: before, after: after, looked: map[*view]map[string]bool{before: {}, after: {}}}
	out, err := d.read(ctx, "diff", "zfs", "diff", "-FH", before.name, after.name)
	if err != nil {
		return c.set, err
	}
	lines, err := parseDiff(out, after.mount)
	if err != nil {
		return c.set, err
	}
	for _, l := range lines {
		if err := c.line(l); err != nil {
			return c.set, err
		}
	}
	return c.set, nil
}

func (c *comparison) line(l diffLine) error {
	switch {
	case l.dir && l.modified:
		return c.names(l.is.rel)
	case l.dir:
		return c.both(l, func(rel string) error { return c.walk(c.before, rel) }, func(rel string) error { return c.walk(c.after, rel) })
	default:
		return c.both(l, c.file, c.file)
	}
}

// both does was and is with the paths that a line has.
func (c *comparison) both(l diffLine, was, is func(rel string) error) error {
	if l.was.known {
		if err := was(l.was.rel); err != nil {
			return err
		}
	}
	if l.is.known {
		return is(l.is.rel)
	}
	return nil
}

// file looks at a path in both snapshots.
func (c *comparison) file(rel string) error {
	_, was, err := c.before.file(rel)
	if err != nil {
		return err
	}
	_, is, err := c.after.file(rel)
	if err != nil {
		return err
	}
	if was {
		c.set.Was(rel)
	}
	if is {
		c.set.Is(rel)
	}
	return nil
}

// names looks at the names that a directory has in one of the snapshots only.
// Directories have lines of their own.
func (c *comparison) names(rel string) error {
	before, err := c.before.names(rel)
	if err != nil {
		return err
	}
	after, err := c.after.names(rel)
	if err != nil {
		return err
	}
	for _, side := range []struct{ has, other map[string]fs.DirEntry }{{before, after}, {after, before}} {
		for name, entry := range side.has {
			if _, both := side.other[name]; both || entry.IsDir() {
				continue
			}
			if err := c.file(filepath.Join(rel, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// walk looks at all that is below a directory of one snapshot.
func (c *comparison) walk(v *view, rel string) error {
	if c.looked[v][rel] {
		return nil
	}
	c.looked[v][rel] = true
	if err := c.ctx.Err(); err != nil {
		return classify(err)
	}
	names, err := v.names(rel)
	if err != nil {
		return err
	}
	for name, entry := range names {
		look := c.file
		if entry.IsDir() {
			look = func(rel string) error { return c.walk(v, rel) }
		}
		if err := look(filepath.Join(rel, name)); err != nil {
			return err
		}
	}
	return nil
}
