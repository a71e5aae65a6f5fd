package rehearse

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/cloned-db/cloned/errs"
)

// ParseGate reads a gate: terms separated by commas, any of which makes a
// report fail, such as
//
//	exclusive-lock>2s,rewrite>100MB,error
//
// A term is a word, mostly with ">" and a limit: a time such as 500ms, 2s or
// 10m, or a size such as 100MB (10^6 bytes) or 1GiB (2^30 bytes). Without a
// limit, anything of the kind fails. The empty text is a gate that lets
// everything pass.
//
// An error is of kind errs.Invalid, its field "fail-on", and it lists the terms
// that there are.
func ParseGate(text string) (Gate, error) {
	var g Gate
	if strings.TrimSpace(text) == "" {
		return g, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		l, err := parseLimit(strings.TrimSpace(part))
		if err != nil {
			return Gate{}, err
		}
		g.limits = append(g.limits, l)
	}
	return g, nil
}

func parseLimit(text string) (limit, error) {
	if text == "" {
		return limit{}, gateError("an empty term: write terms with one comma between two")
	}
	name, value, given := strings.Cut(text, ">")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	t, known := termNamed(name)
	switch {
	case !known:
		return limit{}, gateError("%q is no term", name)
	case !given && !t.bare:
		return limit{}, gateError("%q needs a limit: %s>%s", name, name, t.unit.example())
	case !given:
		return limit{term: t, text: name, bare: true}, nil
	case t.unit == none:
		return limit{}, gateError("%q takes no limit", name)
	}
	most, ok := t.unit.parse(value)
	if !ok {
		return limit{}, gateError("%q in %q is no limit such as %s", value, text, t.unit.example())
	}
	return limit{term: t, text: name + ">" + value, most: most}, nil
}

func termNamed(name string) (term, bool) {
	for _, t := range terms() {
		if t.name == name {
			return t, true
		}
	}
	return term{}, false
}

// example is a limit in the unit.
func (u unit) example() string {
	if u == bytes {
		return "100MB"
	}
	return "2s"
}

// parse reads a limit, which is never negative.
func (u unit) parse(text string) (int64, bool) {
	if u == bytes {
		return parseBytes(text)
	}
	d, err := time.ParseDuration(text)
	return int64(d), err == nil && d >= 0
}

// byteUnits has the longest first among those that end alike. They are the ones
// that clonectl's other sizes are written in.
var byteUnits = []struct {
	name   string
	factor float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

func parseBytes(text string) (int64, bool) {
	for _, u := range byteUnits {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		// The comparison is false for what is not a number.
		if err == nil && n >= 0 && n*u.factor < math.MaxInt64 {
			return int64(n * u.factor), true
		}
		return 0, false
	}
	return 0, false
}

// gateError is an error about a gate's text.
func gateError(format string, args ...any) error {
	var list []string
	for _, t := range terms() {
		word := t.name
		switch {
		case t.unit != none && t.bare:
			word += "[>" + t.unit.example() + "]"
		case t.unit != none:
			word += ">" + t.unit.example()
		}
		list = append(list, word)
	}
	return errs.Fieldf("fail-on", format+"; there are "+strings.Join(list, ", "), args...)
}
