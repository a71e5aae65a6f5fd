package rehearse

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParseLog(t *testing.T) {
	got := ParseLog([]string{
		"2026-11-21 07:00:00.000 UTC [7] LOG:  database system is ready to accept connections",
		`2026-11-21 07:00:01.000 UTC [9] shop@shop ERROR:  relation "x" does not exist at character 15`,
		"2026-11-21 07:00:01.000 UTC [9] shop@shop STATEMENT:  select 'ERROR:  not one' from x",
		`2026-11-21 07:00:02.000 UTC [9] shop@shop ERROR:  relation "x" does not exist at character 15`,
		"ERROR:  without a prefix",
		"\tERROR:  continues a statement",
		"[9] NOTICE:  FATAL:  in a notice",
		"[9] myERROR:  no label",
		"[9] WARNING:  there is no   transaction in progress",
		"[9] FATAL:  terminating connection due to administrator command",
		"[1] PANIC:  could not write",
		"[1] LOG:  duration: 1 ms  statement: select 'PANIC:  x'",
		"ERROR: with one space, not PostgreSQL's",
		"",
	})
	want := []LogLine{
		{"ERROR", `relation "x" does not exist at character 15`, 2},
		{"ERROR", "without a prefix", 1},
		{"WARNING", "there is no transaction in progress", 1},
		{"FATAL", "terminating connection due to administrator command", 1},
		{"PANIC", "could not write", 1},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseLogBounds(t *testing.T) {
	var lines []string
	for i := range 3 * maxLog {
		lines = append(lines, fmt.Sprintf("ERROR:  number %d", i%(2*maxLog)))
	}
	got := ParseLog(append(lines, "ERROR:  number 0", "ERROR:  "+strings.Repeat("é", 2*maxText)))
	if len(got) != maxLog || got[0].Count != 3 || got[maxLog-1].Count != 2 {
		t.Errorf("got %d lines, the first %+v", len(got), got[0])
	}
	long := ParseLog([]string{"ERROR:  " + strings.Repeat("é", 2*maxText)})
	if n := len([]rune(long[0].Message)); n != maxText {
		t.Errorf("a message has %d characters", n)
	}
}
