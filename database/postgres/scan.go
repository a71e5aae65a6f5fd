package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

const (
	// maxDepth bounds how deep a data directory may be nested: PostgreSQL's own
	// need five.
	maxDepth = 32
	// maxListed is how many offending paths an error lists.
	maxListed = 20
)

// contents is what a walk over a data directory found.
type contents struct {
	Size int64 // sum of the files' sizes, in bytes
	// Outside are links that lead out of the volume, as "path -> target".
	Outside []string
	// Odd are pipes, sockets and devices, which no data directory has, and what
	// would give rights to who runs or reads it.
	Odd []string
	// Unlisted is how many of these were found besides.
	Unlisted int
}

// listed adds a path for people, if there is room.
func (c *contents) listed(paths *[]string, path string) {
	if len(*paths) < maxListed {
		*paths = append(*paths, path)
	} else {
		c.Unlisted++
	}
}

// scan walks the directory dir below the volume. It follows no link. Files that
// vanish meanwhile, as under a server that runs, are passed over.
func scan(ctx context.Context, volume *os.Root, dir string) (contents, error) {
	info, err := volume.Stat(dir)
	if err != nil {
		return contents{}, err
	}
	s := scanner{ctx: ctx, volume: volume, base: dir, owner: ownerOf(info).UID}
	err = s.dir(dir, 0)
	if err == nil {
		err = s.tablespaceMap()
	}
	return s.found, err
}

type scanner struct {
	ctx    context.Context
	volume *os.Root
	base   string
	owner  int // whose the data directory is
	found  contents
}

// dir walks a directory. (fs.WalkDir can't: it refuses names that are not UTF-8.)
func (s *scanner) dir(dir string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: directories are nested more than %d deep", dir, maxDepth)
	}
	f, err := s.volume.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if err := s.entry(path.Join(dir, e.Name()), depth); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (s *scanner) entry(name string, depth int) error {
	info, err := s.volume.Lstat(name)
	if err != nil {
		return err
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return s.dir(name, depth+1)
	case mode.IsRegular():
		s.found.Size += min(info.Size(), math.MaxInt64-s.found.Size)
		if s.foreign(info) {
			s.found.listed(&s.found.Odd, s.below(name))
		}
	case mode&fs.ModeSymlink != 0:
		return s.link(name)
	default:
		s.found.listed(&s.found.Odd, s.below(name))
	}
	return nil
}

// foreign says that a file is none of PostgreSQL's: it runs with its owner's
// rights, or it is another user's and has a name elsewhere too, as a hard link to
// a file of the host's has.
func (s *scanner) foreign(info fs.FileInfo) bool {
	if info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
		return true
	}
	links := info.Sys().(*syscall.Stat_t).Nlink // what os.Stat has on Linux
	return links > 1 && ownerOf(info).UID != s.owner
}

func (s *scanner) link(name string) error {
	target, err := s.volume.Readlink(name)
	if err != nil {
		return err
	}
	// An absolute path means something else in every place that the volume is
	// seen at.
	inside := !path.IsAbs(target) && filepath.IsLocal(path.Join(path.Dir(name), target))
	if inside {
		// It may lead on over other links.
		_, err := s.volume.Stat(name)
		inside = err == nil || errors.Is(err, fs.ErrNotExist)
	}
	if !inside {
		s.found.listed(&s.found.Outside, s.below(name)+" -> "+target)
	}
	return nil
}

// tablespaceMap adds the tablespaces that a backup names in tablespace_map: the
// server makes links of them when it starts.
func (s *scanner) tablespaceMap() error {
	content, err := readFile(s.volume, path.Join(s.base, "tablespace_map"), maxConf)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(content)) {
		if oid, target, ok := strings.Cut(strings.TrimRight(line, "\r\n"), " "); ok {
			s.found.listed(&s.found.Outside, "tablespace_map: "+oid+" -> "+target)
		}
	}
	return nil
}

// below is a path relative to the data directory, for people.
func (s *scanner) below(name string) string {
	if rel, err := filepath.Rel(s.base, name); err == nil {
		return rel
	}
	return name
}

// check refuses what can't be in a golden.
func (c contents) check() error {
	if len(c.Outside) > 0 {
		return errs.New(errs.Precondition, database.ReasonLinksOutside, "the data directory has links that lead out of it: %s", c.list(c.Outside)).
			WithHint("put the files in place of the links, or copy the server with a base backup, which brings tablespaces along")
	}
	if len(c.Odd) > 0 {
		return errs.New(errs.Precondition, "ODD_FILES", "the data directory has pipes, sockets, devices, set-user-ID files or hard links to files of other users in it: %s", c.list(c.Odd)).
			WithHint("remove them: PostgreSQL has none there")
	}
	return nil
}

// list writes paths for people, quoted, so that they can hold nothing but text.
func (c contents) list(paths []string) string {
	var b strings.Builder
	for i, p := range paths {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", p)
	}
	if c.Unlisted > 0 {
		fmt.Fprintf(&b, " and %d more", c.Unlisted)
	}
	return b.String()
}
