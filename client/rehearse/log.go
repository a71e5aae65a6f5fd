package rehearse

import (
	"regexp"
	"strings"
	"unicode"
)

// LogLine is a message of the server's log.
type LogLine struct {
	// Severity is WARNING, ERROR, FATAL or PANIC.
	Severity string `json:"severity"`
	// Message is the first line of the text, cut at 500 characters.
	Message string `json:"message"`
	// Count is how often it was logged.
	Count int `json:"count"`
}

// maxLog bounds the different messages that a report has.
const maxLog = 100

// label finds the first thing in a line that PostgreSQL writes before a
// message: the prefix before it is the operator's choice. What follows, such as
// a statement, may look like a label too.
var label = regexp.MustCompile(`(?:^|[^A-Za-z0-9_])(DEBUG[1-5]?|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC|DETAIL|HINT|QUERY|CONTEXT|STATEMENT|LOCATION|BACKTRACE):  `)

// ParseLog finds the warnings and errors in lines of a PostgreSQL server's log
// in the format "stderr", in English (lc_messages). A message that occurs again
// is counted; they are in the order in which they first occur, a hundred at most.
func ParseLog(lines []string) []LogLine {
	var found []LogLine
	index := map[LogLine]int{}
	for _, line := range lines {
		// A line that begins with a tab continues the one before.
		if strings.HasPrefix(line, "\t") {
			continue
		}
		at := label.FindStringSubmatchIndex(line)
		if at == nil {
			continue
		}
		l := LogLine{Severity: line[at[2]:at[3]], Message: tidy(line[at[1]:])}
		switch l.Severity {
		case "WARNING", "ERROR", "FATAL", "PANIC":
		default:
			continue
		}
		i, known := index[l]
		if !known {
			if len(found) == maxLog {
				continue
			}
			i = len(found)
			index[l] = i
			found = append(found, l)
		}
		found[i].Count++
	}
	return found
}

// maxText bounds the texts of a report, in characters.
const maxText = 500

// tidy gives a text single spaces, and cuts it. What could command a terminal
// is replaced.
func tidy(text string) string {
	printable := func(c rune) rune {
		if unicode.IsControl(c) {
			return unicode.ReplacementChar
		}
		return c
	}
	return cut(strings.Map(printable, strings.Join(strings.Fields(text), " ")), maxText)
}

// cut shortens a text to a number of characters.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return string(runes[:limit-1]) + "…"
}
