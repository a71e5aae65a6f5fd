// Package changes collects how two states of a directory tree differ, file by
// file: a filesystem tells of files and names one by one, in no useful order, and
// what became of a path shows only when all is told.
package changes

import (
	"maps"
	"slices"
)

// Set is what was told so far. Files that were not told of are the same in both
// states.
type Set struct {
	files map[string]file
}

// file says of a path whether there was a file in the first state, and whether
// there is one in the second.
type file struct{ was, is bool }

// Was tells that the first state has a file of this path.
func (s *Set) Was(path string) { s.put(path, file{was: true}) }

// Is tells that the second state has a file of this path.
func (s *Set) Is(path string) { s.put(path, file{is: true}) }

func (s *Set) put(path string, f file) {
	if s.files == nil {
		s.files = map[string]file{}
	}
	before := s.files[path]
	s.files[path] = file{was: before.was || f.was, is: before.is || f.is}
}

// Then appends how a third state differs from the second.
func (s *Set) Then(next Set) {
	for path, f := range next.files {
		if before, told := s.files[path]; told {
			s.files[path] = file{was: before.was, is: f.is}
		} else {
			s.put(path, f)
		}
	}
}

// Each calls do with each path that differs, in order: was says that the first
// state has a file there, is that the second has. With both the file was told of,
// and is not the same.
func (s *Set) Each(do func(path string, was, is bool) error) error {
	for _, path := range slices.Sorted(maps.Keys(s.files)) {
		f := s.files[path]
		if !f.was && !f.is { // of a state in between only
			continue
		}
		if err := do(path, f.was, f.is); err != nil {
			return err
		}
	}
	return nil
}
