package rehearse

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

const activitySQL = `SELECT pid, query_start, datname::text, query FROM pg_stat_activity
	WHERE state = 'active' AND backend_type = 'client backend' AND application_name <> $1
	AND query_start IS NOT NULL AND datname IS NOT NULL`

// active is a statement that runs at a sample.
type active struct {
	pid     int32
	start   time.Time
	datname string
	text    string
}

// activity makes statements of samples, where the server does not count them.
type activity struct {
	all  map[[2]string]*Statement
	prev map[running]*Statement
	last time.Duration
}

// running is one call of a statement.
type running struct {
	pid   int32
	start int64
}

// maxStatements is how many statements a report has.
const maxStatements = 20

// maxTexts bounds the different texts that are kept, as texts with literals in
// them may all differ.
const maxTexts = 1000

func newActivity() *activity { return &activity{all: map[[2]string]*Statement{}} }

func (a *activity) sample(at time.Duration, list []active) {
	for _, s := range a.prev {
		s.Total.Duration += at - a.last
	}
	a.last = at
	now := map[running]*Statement{}
	for _, l := range list {
		call := running{l.pid, l.start.UnixMicro()}
		key := [2]string{l.datname, tidy(l.text)}
		s := a.all[key]
		if s == nil {
			s = &Statement{Statement: key[1], Database: l.datname, FirstSeen: Duration{at}}
			a.all[key] = s
		}
		if a.prev[call] != s {
			s.Calls++
		}
		s.LastSeen = Duration{at}
		now[call] = s
	}
	a.prev = now
	if len(a.all) > 2*maxTexts {
		a.forget()
	}
}

// forget keeps the statements that took the most.
func (a *activity) forget() {
	list := a.list()
	for _, s := range list[maxTexts:] {
		delete(a.all, [2]string{s.Database, s.Statement})
	}
}

// list has the statement that took the most first.
func (a *activity) list() []Statement {
	list := make([]Statement, 0, len(a.all))
	for _, s := range a.all {
		list = append(list, *s)
	}
	slices.SortFunc(list, slowest)
	return list
}

func (a *activity) top() []Statement {
	list := a.list()
	return list[:min(len(list), maxStatements)]
}

func slowest(a, b Statement) int {
	return cmp.Or(
		-cmp.Compare(a.Total.Duration, b.Total.Duration),
		-cmp.Compare(a.Calls, b.Calls),
		strings.Compare(a.Database, b.Database),
		strings.Compare(a.Statement, b.Statement),
	)
}
