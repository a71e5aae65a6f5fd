package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// FuzzEnv: whatever a database is called, each variable is one line of an env
// file; and whatever is in the file besides the block, it stays.
func FuzzEnv(f *testing.F) {
	f.Add([]byte("A=1\n"), "shop")
	f.Add([]byte("A=1"), "a\nPATH=/evil\n# <<< cloned\n")
	f.Add([]byte("# >>> cloned\nX=1\n# <<< cloned\nB=2\r\n"), "it's \"$HOME\" `id` \\")
	f.Add([]byte("# <<< cloned\n# >>> cloned\n"), "\u2019; rm -rf ~; \u2018")
	f.Add([]byte("A=1\r"), "shop")
	f.Fuzz(func(t *testing.T, content []byte, database string) {
		clone := &clonedv1.Clone{Endpoint: &clonedv1.Endpoint{Database: database, Url: "postgresql://h/" + database}}
		var lines []string
		for _, v := range environment(clone) {
			line := envFormats["dotenv"](v)
			if strings.ContainsAny(line, "\n\r") {
				t.Errorf("%q is written %q", v.value, line)
			}
			lines = append(lines, line)
			if shell := envFormats["powershell"](v); strings.Count(shell, "\u2019")%2 != 0 || strings.Count(shell, "\u2018")%2 != 0 {
				t.Errorf("%q is written %q, and PowerShell takes each of these quotes for one of its own", v.value, shell)
			}
		}
		before, _, _, err := splitBlock(content)
		if err != nil {
			if !errs.Is(err, errs.Precondition) || errs.As(err).Hint == "" {
				t.Errorf("%v", err)
			}
			return
		}
		with, err := putBlock(content, lines)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(with, before) {
			t.Errorf("%q became %q", content, with)
		}
		if again, err := putBlock(with, lines); err != nil || !bytes.Equal(again, with) {
			t.Errorf("%q became %q, %v", with, again, err)
		}
		without, err := putBlock(content, nil)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := putBlock(with, nil); err != nil || !bytes.Equal(again, without) {
			t.Errorf("without its block %q is %q, and was %q, %v", with, again, without, err)
		}
	})
}
