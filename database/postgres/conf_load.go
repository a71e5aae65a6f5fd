package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/cloned-db/cloned/errs"
)

const (
	confFile = "postgresql.conf"
	autoFile = "postgresql.auto.conf"
	// maxIncludes bounds how many files of settings are read, maxSettings how much
	// of them, in bytes.
	maxIncludes = 100
	maxSettings = 4 << 20
)

// settings are those that a data directory's files set, by name.
type settings map[string]string

// loadSettings reads the settings that a server would find in its data
// directory, in its order: postgresql.conf with what it includes, then
// postgresql.auto.conf. What can't be read is left out and said in warnings.
func loadSettings(data *os.Root) (found settings, warnings []string) {
	l := confLoader{data: data, found: settings{}}
	l.file(confFile, true)
	l.file(autoFile, true)
	return l.found, l.warnings
}

type confLoader struct {
	data     *os.Root
	found    settings
	warnings []string
	files    int
	read     int // bytes
	// open are the files that include the present one, and itself.
	open []string
}

func (l *confLoader) warn(format string, args ...any) {
	if len(l.warnings) <= maxTold { // one more than is told: that there are more
		l.warnings = append(l.warnings, errs.Plain(fmt.Sprintf(format, args...)))
	}
}

// file reads one file and what it includes.
func (l *confLoader) file(name string, mayLack bool) {
	if slices.Contains(l.open, name) {
		l.warn("%s includes itself: ignored", name)
		return
	}
	if l.files++; l.files > maxIncludes {
		if l.files == maxIncludes+1 {
			l.warn("more than %d files of settings: the rest is ignored", maxIncludes)
		}
		return
	}
	l.open = append(l.open, name)
	defer func() { l.open = l.open[:len(l.open)-1] }()
	content, err := readFile(l.data, name, maxConf)
	if errors.Is(err, fs.ErrNotExist) && mayLack {
		return
	}
	if err != nil {
		l.warn("settings in %s are ignored: %v", name, err)
		return
	}
	if l.read += len(content); l.read > maxSettings {
		l.warn("settings in %s are ignored: all files together have more than %d bytes", name, maxSettings)
		return
	}
	entries, bad := parseConf(string(content))
	for _, line := range bad {
		l.warn("%s line %d is ignored: not a setting", name, line)
	}
	for _, e := range entries {
		switch e.Name {
		case "include", "include_if_exists":
			if at, ok := l.inside(name, e); ok {
				l.file(at, e.Name == "include_if_exists")
			}
		case "include_dir":
			if at, ok := l.inside(name, e); ok {
				l.dir(at)
			}
		default:
			l.found[e.Name] = e.Value
		}
	}
}

// dir reads the files of a directory that a server would: *.conf in the order
// of their names.
func (l *confLoader) dir(dir string) {
	found, err := names(l.data, dir)
	if err != nil {
		l.warn("settings in %s are ignored: %v", dir, err)
	}
	slices.Sort(found)
	for _, name := range found {
		if strings.HasSuffix(name, ".conf") && name[0] != '.' {
			l.file(path.Join(dir, name), false)
		}
	}
}

// inside returns the path below the data directory of what the file includes.
func (l *confLoader) inside(file string, e entry) (string, bool) {
	if path.IsAbs(e.Value) || e.Value == "" {
		l.warn("%s line %d: %s %q is ignored: only what is inside the data directory came along", file, e.Line, e.Name, e.Value)
		return "", false
	}
	return path.Join(path.Dir(file), e.Value), true
}

// render writes settings as a file.
func (s settings) render(comment string) string {
	var b strings.Builder
	b.WriteString(comment)
	for _, name := range sorted(s) {
		fmt.Fprintf(&b, "%s = %s\n", name, quoteConf(s[name]))
	}
	return b.String()
}
