package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cloned-db/cloned/errs"
)

// The block of an env file that is ours. The second form of its first line says
// that the line break before it is ours too: what was there before had none.
const (
	blockBegin       = "# >>> cloned"
	blockBeginJoined = "# >>> cloned, with the line break before"
	blockEnd         = "# <<< cloned"
)

// putBlock returns the content with the lines as its block, in place of the one
// that was there; without lines there is none. Everything else stays as it is,
// byte by byte.
func putBlock(content []byte, lines []string) ([]byte, error) {
	before, after, joined, err := splitBlock(content)
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		return append(before, after...), nil
	}
	eol := "\n"
	if bytes.Contains(before, []byte("\r\n")) || bytes.Contains(after, []byte("\r\n")) {
		eol = "\r\n"
	}
	begin := blockBegin
	if joined || len(before) > 0 && !bytes.HasSuffix(before, []byte("\n")) {
		begin = eol + blockBeginJoined
	}
	block := begin + eol + strings.Join(lines, eol) + eol + blockEnd + eol
	return append(append(before, block...), after...), nil
}

// splitBlock returns what is before and after the block.
func splitBlock(content []byte) (before, after []byte, joined bool, err error) {
	start, end := -1, -1
	lineBreak := ""
	for offset := 0; offset < len(content); {
		length := bytes.IndexByte(content[offset:], '\n') + 1
		if length == 0 {
			length = len(content) - offset
		}
		line := strings.TrimRight(string(content[offset:offset+length]), "\r\n")
		switch {
		case line == blockBegin || line == blockBeginJoined:
			if start >= 0 {
				return nil, nil, false, errBlock("begins twice")
			}
			start, joined = offset, line == blockBeginJoined
			lineBreak = string(content[offset+len(line) : offset+length])
		case line == blockEnd && (start < 0 || end >= 0):
			return nil, nil, false, errBlock("ends without a beginning")
		case line == blockEnd:
			end = offset + length
		}
		offset += length
	}
	switch {
	case start < 0:
		return bytes.Clone(content), nil, false, nil
	case end < 0:
		return nil, nil, false, errBlock("has no end")
	}
	before, after = bytes.Clone(content[:start]), bytes.Clone(content[end:])
	if joined {
		before = bytes.TrimSuffix(before, []byte(lineBreak)) // both were written alike
	}
	return before, after, joined, nil
}

func errBlock(what string) error {
	return errs.New(errs.Precondition, "ENV_BLOCK", "the block of cloned in the env file %s", what).
		WithHint("remove its lines: from %q to %q", blockBegin, blockEnd)
}

// envPath returns where the env file of a worktree is: in the worktree, and not
// in what Git keeps there.
func envPath(r repo, name string) (string, error) {
	path := filepath.Join(r.top, name)
	switch {
	case name == "" || filepath.IsAbs(name) || !inside(r.top, path):
		return "", errs.Fieldf("env-file", "%q must be a path inside the worktree", name)
	case inside(r.gitDir, path) || inside(r.common, path) || inside(filepath.Join(r.top, ".git"), path):
		return "", errs.Fieldf("env-file", "%q must not be Git's own", name)
	}
	return real(path), nil
}

// updateEnv puts the lines into a file's block. Where they are there already it
// writes nothing; a file that only had the block goes with it.
func updateEnv(path string, lines []string) error {
	content, err := os.ReadFile(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return errs.Fieldf("env-file", "%w", err)
	}
	changed, err := putBlock(content, lines)
	if err != nil || bytes.Equal(changed, content) {
		return err
	}
	mode := fs.FileMode(0o600) // it has a password
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	if err := replaceFile(path, changed, mode); err != nil {
		return errs.Fieldf("env-file", "%w", err)
	}
	return nil
}

// replaceFile writes a file so that it is there whole, or as it was.
func replaceFile(path string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".cloned-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing to remove
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
