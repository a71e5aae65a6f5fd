package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cloned-db/cloned/errs"
)

// Read calls yield with each entry there is, the oldest first, until it returns an
// error. Lines that are none are errs.Corrupt, after all others.
func (l *Log) Read(ctx context.Context, yield func(Entry) error) error {
	files, err := l.files()
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return err
	}
	damaged := 0
	for _, f := range files {
		n, err := readFile(ctx, f, yield)
		if err != nil {
			return err
		}
		damaged += n
	}
	if damaged > 0 {
		return errs.New(errs.Corrupt, "AUDIT_DAMAGED", "%d lines of the audit log in %s can't be read", damaged, l.dir).
			WithHint("a crash of the host can cut one line short; more were changed by somebody")
	}
	return nil
}

// files opens all files of the log, the oldest first. The one that is written
// comes first to be opened: if it is put aside meanwhile it is found twice, and
// not never.
func (l *Log) files() (files []*os.File, err error) {
	current, err := os.Open(filepath.Join(l.dir, fileName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names, globErr := filepath.Glob(filepath.Join(l.dir, "audit-*.log"))
	if globErr != nil {
		err = globErr
	} else {
		err = nil
	}
	slices.Sort(names) // their time is written so that this is its order
	for _, name := range names {
		f, openErr := os.Open(name)
		switch {
		case errors.Is(openErr, fs.ErrNotExist): // it was the oldest
		case openErr != nil:
			err = errors.Join(err, openErr)
		case current != nil && sameFile(f, current):
			err = errors.Join(err, f.Close())
		default:
			files = append(files, f)
		}
	}
	if current != nil {
		files = append(files, current)
	}
	return files, err
}

func sameFile(a, b *os.File) bool {
	x, errA := a.Stat()
	y, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(x, y)
}

func readFile(ctx context.Context, f io.Reader, yield func(Entry) error) (damaged int, err error) {
	lines := bufio.NewReader(f)
	for ctx.Err() == nil {
		line, err := lines.ReadBytes('\n')
		switch {
		case err == io.EOF: // what follows the last newline is still being written
			return damaged, nil
		case err != nil:
			return damaged, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var e Entry
		if json.Unmarshal(line, &e) != nil || e.Method == "" {
			damaged++
			continue
		}
		if err := yield(e); err != nil {
			return damaged, err
		}
	}
	return damaged, ctx.Err()
}

// Filter selects entries; empty fields select all.
type Filter struct {
	Since             time.Time
	Principal, Method string
	// Name is that of a clone or golden, which the request names in any field.
	Name string
}

// Matches says whether the entry is selected.
func (f Filter) Matches(e Entry) bool {
	return !e.Time.Before(f.Since) && (f.Principal == "" || f.Principal == e.Principal) && (f.Method == "" || f.Method == e.Method) &&
		(f.Name == "" || names(e.Request, f.Name))
}

// names says whether a value of the request is the name.
func names(request json.RawMessage, name string) bool {
	if !strings.Contains(string(request), name) {
		return false // the usual case, and quick
	}
	var v any
	return json.Unmarshal(request, &v) == nil && holds(v, name)
}

func holds(v any, name string) bool {
	switch v := v.(type) {
	case string:
		return v == name
	case []any:
		return slices.ContainsFunc(v, func(v any) bool { return holds(v, name) })
	case map[string]any:
		for _, v := range v {
			if holds(v, name) {
				return true
			}
		}
	}
	return false
}
