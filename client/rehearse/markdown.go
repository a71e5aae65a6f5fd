package rehearse

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// maxRows bounds the tables: a comment has at most 65536 characters.
	maxRows = 20
	// maxSchema bounds the schema's part, in bytes.
	maxSchema = 30000
	// maxCell bounds the statements and messages in tables, in characters.
	maxCell = 160
)

// Markdown returns the report as a comment for a pull request on GitHub, GitLab
// or the like: the verdict, then a section for each thing that there is
// something to say of, the schema's difference folded up.
func (r Report) Markdown() string {
	m := &markdown{several: r.severalDatabases()}
	m.head(r)
	m.locks(r)
	m.rewrites(r)
	m.size(r)
	m.statements(r)
	m.log(r)
	m.schema(r)
	m.printf("\n<sub>%s", r.sampled())
	for _, note := range r.Notes {
		m.printf(" Note: %s.", html(strings.TrimSuffix(note, ".")))
	}
	m.printf("</sub>\n")
	return m.String()
}

type markdown struct {
	strings.Builder
	several bool
}

func (m *markdown) printf(format string, args ...any) { fmt.Fprintf(&m.Builder, format, args...) }

// section writes a heading and a table's head.
func (m *markdown) section(title string, columns ...string) {
	m.printf("\n#### %s\n\n", title)
	m.row(columns...)
	m.row(strings.Split(strings.Repeat("---,", len(columns)-1)+"---", ",")...)
}

func (m *markdown) row(cells ...string) { m.printf("| %s |\n", strings.Join(cells, " | ")) }

// more says that rows are missing.
func (m *markdown) more(all int) {
	if all > maxRows {
		m.printf("\n… and %d more\n", all-maxRows)
	}
}

func (m *markdown) name(name, database string) string {
	return code(where(name, database, m.several))
}

func (m *markdown) head(r Report) {
	mark := "✅"
	switch {
	case r.Failed() || len(r.Broken) > 0:
		mark = "❌"
	case slices.ContainsFunc(r.Locks, func(l Lock) bool { return l.BlocksWrites }):
		mark = "⚠️"
	}
	m.printf("### %s Rehearsal %s\n", mark, html(r.verdict()))
	if len(r.Command) > 0 {
		m.printf("\n%s\n", code(cut(r.commandLine(), maxText)))
	}
	if r.Error != "" {
		m.printf("\n%s\n", fenced("", cut(r.Error, 2000)))
	}
	if len(r.Broken) > 0 {
		m.printf("\nNot passed:\n\n")
	}
	for _, reason := range r.Broken {
		m.printf("- %s\n", html(reason))
	}
}

func (m *markdown) locks(r Report) {
	list := groups(r.Locks)
	if len(list) == 0 {
		return
	}
	m.section("Locks", "blocks", "held", "waited", "table", "mode", "statement")
	for _, g := range list[:min(len(list), maxRows)] {
		held := atLeast(g.Held.Duration)
		if g.times > 1 {
			held = fmt.Sprintf("%s, the longest of %d", held, g.times)
		}
		m.row(g.shuts(), held, dash(g.Waited.Duration), m.name(g.Table, g.Database), g.Mode, code(cut(g.Statement, maxCell)))
	}
	m.more(len(list))
}

func (m *markdown) rewrites(r Report) {
	if len(r.Rewrites) == 0 {
		return
	}
	m.section("Rewritten", "relation", "kind", "size")
	for _, w := range r.Rewrites[:min(len(r.Rewrites), maxRows)] {
		m.row(m.name(w.Table, w.Database), w.Kind, size(w.Bytes))
	}
	m.more(len(r.Rewrites))
}

func (m *markdown) size(r Report) {
	m.printf("\n#### Size\n\n%s of WAL. All databases: %s → %s (%s).", size(r.WALBytes), size(r.SizeBefore), size(r.SizeAfter), signed(r.SizeAfter-r.SizeBefore))
	m.relations("Created", r.Created)
	m.relations("Dropped", r.Dropped)
	m.printf("\n")
	if len(r.Growth) == 0 {
		return
	}
	m.printf("\n")
	m.row("table", "before", "after", "change")
	m.row("---", "---", "---", "---")
	for _, g := range r.Growth[:min(len(r.Growth), maxRows)] {
		m.row(m.name(g.Table, g.Database), size(g.Before), size(g.After), signed(g.Delta))
	}
}

func (m *markdown) relations(what string, list []Relation) {
	if len(list) == 0 {
		return
	}
	var names []string
	for _, rel := range list[:min(len(list), maxRows)] {
		names = append(names, fmt.Sprintf("%s %s (%s)", rel.Kind, m.name(rel.Name, rel.Database), size(rel.Bytes)))
	}
	if more := len(list) - maxRows; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	m.printf(" %s: %s.", what, strings.Join(names, ", "))
}

func (m *markdown) statements(r Report) {
	if len(r.Statements) == 0 {
		return
	}
	if r.StatementsSampled {
		m.section("Slowest statements (sampled)", "total", "calls", "statement")
	} else {
		m.section("Slowest statements", "total", "calls", "rows", "WAL", "statement")
	}
	for _, s := range r.Statements {
		total, calls, text := atLeast(s.Total.Duration), fmt.Sprint(s.Calls), code(cut(s.Statement, maxCell))
		if r.StatementsSampled {
			m.row(total, calls, text)
		} else {
			m.row(total, calls, fmt.Sprint(s.Rows), size(s.WALBytes), text)
		}
	}
}

func (m *markdown) log(r Report) {
	if len(r.Log) == 0 {
		return
	}
	m.section("Server log", "severity", "times", "message")
	for _, l := range r.Log[:min(len(r.Log), maxRows)] {
		m.row(l.Severity, fmt.Sprint(l.Count), code(cut(l.Message, maxCell)))
	}
	m.more(len(r.Log))
}

func (m *markdown) schema(r Report) {
	if r.SchemaMarkdown == "" && len(r.SchemaStatements) == 0 {
		return
	}
	m.printf("\n<details><summary>Schema: %s</summary>\n", plural(len(r.SchemaStatements), "statement"))
	sql := strings.Join(r.SchemaStatements, "\n")
	if len(r.SchemaMarkdown)+len(sql) > maxSchema {
		m.printf("\nToo long for a comment; it is in the report as JSON.\n")
	} else {
		if r.SchemaMarkdown != "" {
			m.printf("\n%s\n", strings.TrimSpace(r.SchemaMarkdown))
		}
		if sql != "" {
			m.printf("\n%s\n", fenced("sql", sql))
		}
	}
	m.printf("\n</details>\n")
}

func dash(d time.Duration) string {
	if d == 0 {
		return "–"
	}
	return took(d)
}
