package postgres

import (
	"regexp"
	"strings"
)

// entry is one line of a file of settings that says something.
type entry struct {
	Name, Value string // the name in lower case
	Line        int
}

// confLine is a line of postgresql.conf, as guc-file.l reads it: a name, perhaps
// "=", a value that is quoted or a word, perhaps a comment.
var confLine = regexp.MustCompile(`^([\pL\pN_.$]+)\s*(?:=\s*|\s+|$)('(?:[^'\\]|\\.|'')*'|[^\s#']*)\s*(?:#.*)?$`)

// parseConf reads a file of settings. It tolerates whatever it meets: lines that
// it can't read are returned by their numbers.
func parseConf(text string) (entries []entry, bad []int) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		match := confLine.FindStringSubmatch(line)
		if match == nil || match[2] == "" {
			bad = append(bad, number)
			continue
		}
		entries = append(entries, entry{Name: strings.ToLower(match[1]), Value: unquoteConf(match[2]), Line: number})
	}
	return entries, bad
}

// unquoteConf undoes the quoting of a value: DeescapeQuotedString in guc-file.l.
func unquoteConf(s string) string {
	if len(s) < 2 || s[0] != '\'' {
		return s
	}
	s = s[1 : len(s)-1]
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\'' && i+1 < len(s) { // only doubled quotes are inside
			i++
		}
		if c == '\\' && i+1 < len(s) {
			i++
			c = s[i]
			if at := strings.IndexByte("bfnrt", c); at >= 0 {
				c = "\b\f\n\r\t"[at]
			} else if c >= '0' && c <= '7' {
				value := 0
				end := min(i+3, len(s))
				for ; i < end && s[i] >= '0' && s[i] <= '7'; i++ {
					value = value*8 + int(s[i]-'0')
				}
				i--
				c = byte(value)
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

// quoteConf quotes a value for a file of settings, on one line.
func quoteConf(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`, "\n", `\n`, "\r", `\r`).Replace(s) + "'"
}
