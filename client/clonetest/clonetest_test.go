package clonetest

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestNames: whatever a test is called, the API takes what is made of it.
func TestNames(t *testing.T) {
	valid := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	seen := map[string]bool{}
	for _, test := range []string{"TestCheckout", "TestA/b c/ß", "", "///", strings.Repeat("Tést", 100), "a\x00b\xff"} {
		n := name(test)
		if !valid.MatchString(n) || len(n) > 63 || seen[n] {
			t.Errorf("%q is called %q", test, n)
		}
		seen[n] = true
		if l := label(test); len(l) > 250 || !utf8.ValidString(l) || strings.ContainsAny(l, "\x00\n") {
			t.Errorf("%q is labelled %q", test, l)
		}
	}
	if one, other := name("Test"), name("Test"); one == other {
		t.Error("two clones of one name")
	}
	if o := owner(); o == "" || len(o) > 250 {
		t.Errorf("owner %q", o)
	}
}
