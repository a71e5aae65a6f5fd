package zfs

import (
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cloned-db/cloned/errs"
)

// diffLine is a line of what `zfs diff -FH` answers: something that may not be as
// it was, under the path that it had and the one that it has, relative to the
// dataset's root. At least one of them is set, unless it is on nobody's path: see
// onDeleteQueue.
type diffLine struct {
	dir      bool
	was, is  path
	modified bool
}

// path is a relative path; "" is the root. known tells it from no path.
type path struct {
	rel   string
	known bool
}

// onDeleteQueue stands for the path of a file that is still open after it was
// removed.
const onDeleteQueue = "(on_delete_queue)"

// linkChange is what follows the path of a file that has more names than before,
// or fewer.
var linkChange = regexp.MustCompile(`^\([+-][0-9]+\)$`)

// parseDiff reads the answer of `zfs diff -FH` for a dataset mounted at mount.
// Like parseGet it takes all of it or nothing.
func parseDiff(out []byte, mount string) ([]diffLine, error) {
	var lines []diffLine
	for line := range strings.Lines(string(out)) {
		l, ok := parseDiffLine(line, strings.TrimSuffix(mount, "/"))
		if !ok {
			return nil, errs.New(errs.Internal, reasonOutput, "zfs diff of %s answered %q", mount, line)
		}
		lines = append(lines, l)
	}
	return lines, nil
}

func parseDiffLine(line, mount string) (l diffLine, ok bool) {
	line, whole := strings.CutSuffix(line, "\n")
	fields := strings.Split(line, "\t")
	if !whole || len(fields) < 3 || len(fields[1]) != 1 || !strings.Contains("BC/>|@P=F?", fields[1]) {
		return l, false
	}
	l.dir = fields[1] == "/"
	at, ok := parsePath(fields[2], mount)
	if !ok {
		return l, false
	}
	rest := fields[3:]
	switch fields[0] {
	case "+":
		l.is = at
	case "-":
		l.was = at
	case "M":
		l.was, l.is, l.modified = at, at, true
		if len(rest) == 1 && linkChange.MatchString(rest[0]) {
			rest = nil
		}
	case "R":
		if len(rest) != 1 {
			return l, false
		}
		l.was = at
		l.is, ok = parsePath(rest[0], mount)
		rest = nil
	default:
		return l, false
	}
	return l, ok && len(rest) == 0
}

// parsePath reads a path below mount. Bytes other than the visible ones of ASCII
// are written as a backslash and four octal digits.
func parsePath(escaped, mount string) (path, bool) {
	text, ok := unescape(escaped)
	if !ok {
		return path{}, false
	}
	rel, ok := strings.CutPrefix(text, mount)
	switch {
	case !ok:
		return path{}, false
	case rel == onDeleteQueue:
		return path{}, true
	case rel == "" || rel == "/":
		return path{known: true}, true
	case rel[0] != '/' || !filepath.IsLocal(rel[1:]):
		return path{}, false
	}
	return path{rel: rel[1:], known: true}, true
}

func unescape(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c >= 0x7f {
			return "", false
		}
		if c == '\\' {
			if len(s) < i+5 {
				return "", false
			}
			n := 0
			for _, digit := range []byte(s[i+1 : i+5]) {
				if digit < '0' || digit > '7' {
					return "", false
				}
				n = n<<3 | int(digit-'0')
			}
			if n == 0 || n > 0xff {
				return "", false
			}
			c = byte(n)
			i += 4
		}
		b.WriteByte(c)
	}
	return b.String(), true
}
