package auth

import (
	"encoding/json"
	"testing"
)

func TestRule(t *testing.T) {
	const token = `{"repository": "acme/shop", "ref": "refs/heads/a/b", "n": 17, "yes": true, "null": null, "empty": "",
		"list": ["acme/shop"], "object": {"a": "b"}, "line": "a\nb", "dots": "a.c"}`
	var c claims
	if err := json.Unmarshal([]byte(token), &c); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		claims map[string]string
		fits   bool
	}{
		{nil, false},
		{map[string]string{"repository": "acme/shop"}, true},
		{map[string]string{"repository": "acme/sho"}, false},
		{map[string]string{"repository": "cme/shop"}, false},
		{map[string]string{"repository": "ACME/shop"}, false},
		{map[string]string{"repository": "acme/shop", "ref": "refs/heads/*"}, true},
		{map[string]string{"repository": "acme/shop", "ref": "refs/tags/*"}, false},
		{map[string]string{"ref": "refs/*/b"}, true},
		{map[string]string{"ref": "*"}, true},
		{map[string]string{"ref": "refs/heads/a/b*"}, true},
		{map[string]string{"dots": "a.c"}, true},
		{map[string]string{"dots": "abc"}, false},
		{map[string]string{"ref": "refs/heads/a?b"}, false},
		{map[string]string{"ref": "refs/heads/."}, false},
		{map[string]string{"ref": ".*"}, false},
		{map[string]string{"line": "a*b"}, true},
		{map[string]string{"line": "a"}, false},
		{map[string]string{"n": "17", "yes": "true"}, true},
		{map[string]string{"n": "1"}, false},
		{map[string]string{"empty": ""}, true},
		{map[string]string{"empty": "*"}, true},
		{map[string]string{"absent": ""}, false},
		{map[string]string{"absent": "*"}, false},
		{map[string]string{"null": "*"}, false},
		{map[string]string{"list": "*"}, false},
		{map[string]string{"object": "*"}, false},
	} {
		if got := compile([]Rule{{Claims: test.claims}})[0].fits(c); got != test.fits {
			t.Errorf("%v: %v", test.claims, got)
		}
	}
}
