package auth

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/cloned-db/cloned/daemon/control"
)

// Rule gives a role to the identity tokens that have these claims.
type Rule struct {
	// Claims must all be there and fit their pattern, in which "*" stands for any
	// characters, "/" and none among them, and all else for itself.
	Claims  map[string]string
	Role    Role
	Goldens []string
	Limits  control.Limits
}

type rule struct {
	Rule
	patterns map[string]*regexp.Regexp
}

func compile(list []Rule) []rule {
	out := make([]rule, len(list))
	for i, r := range list {
		out[i] = rule{Rule: r, patterns: map[string]*regexp.Regexp{}}
		for name, pattern := range r.Claims {
			parts := strings.Split(pattern, "*")
			for j := range parts {
				parts[j] = regexp.QuoteMeta(parts[j])
			}
			out[i].patterns[name] = regexp.MustCompile(`(?s)\A` + strings.Join(parts, ".*") + `\z`)
		}
	}
	return out
}

func (r rule) fits(c claims) bool {
	for name, pattern := range r.patterns {
		if value, ok := c.text(name); !ok || !pattern.MatchString(value) {
			return false
		}
	}
	return len(r.patterns) > 0 // a rule about nothing would be one for everybody
}

// claims are what a token says.
type claims map[string]json.RawMessage

// text returns a claim that is a string, a number or a boolean. What a rule says
// of a list or an object is true of none.
func (c claims) text(name string) (string, bool) {
	raw := string(c[name])
	var s string
	switch {
	case raw == "" || raw == "null" || raw[0] == '[' || raw[0] == '{':
		return "", false
	case raw[0] != '"':
		return raw, true
	}
	return s, json.Unmarshal(c[name], &s) == nil
}

// seen tells the claims that the rules look at.
func seen(rules []rule, c claims) string {
	names := map[string]bool{}
	for _, r := range rules {
		for name := range r.patterns {
			names[name] = true
		}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if value, ok := c.text(name); ok {
			all = append(all, fmt.Sprintf("%s is %.200q", name, value))
		} else {
			all = append(all, name+" is absent")
		}
	}
	return strings.Join(all, ", ")
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar })
}
