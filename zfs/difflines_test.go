package zfs

import (
	"reflect"
	"strings"
	"testing"
)

// What OpenZFS 2.3.2 answered.
const recordedDiff = `R	/	/tp/c/c/d	/tp/c/c/e
M	F	/tp/c/c/a	(+1)
-	F	/tp/c/c/b
M	F	/tp/c/c/back
+	F	/tp/c/c/spa\0303\0237
+	F	/tp/c/c(on_delete_queue)
R	F	/tp/c/c/open	/tp/c/c(on_delete_queue)
M	/	/tp/c/c/
M	F	/tp/c/c/odd\0040name\0012x\0134t
+	|	/tp/c/c/p
+	@	/tp/c/c/l
`

func TestParseDiff(t *testing.T) {
	at := func(rel string) path { return path{rel: rel, known: true} }
	want := []diffLine{
		{dir: true, was: at("d"), is: at("e")},
		{was: at("a"), is: at("a"), modified: true},
		{was: at("b")},
		{was: at("back"), is: at("back"), modified: true},
		{is: at("spaß")},
		{},
		{was: at("open")},
		{dir: true, was: at(""), is: at(""), modified: true},
		{was: at("odd name\nx\\t"), is: at("odd name\nx\\t"), modified: true},
		{is: at("p")},
		{is: at("l")},
	}
	got, err := parseDiff([]byte(recordedDiff), "/tp/c/c")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := parseDiff(nil, "/tp"); err != nil || len(got) != 0 {
		t.Errorf("of nothing: %+v, %v", got, err)
	}
	if got, err := parseDiff([]byte("M\tF\t/a\n"), "/"); err != nil || len(got) != 1 || got[0].is != at("a") {
		t.Errorf("mounted at the root: %+v, %v", got, err)
	}
}

func TestParseDiffTakesAllOrNothing(t *testing.T) {
	for _, line := range []string{
		"", "\n", "M\n", "M\tF\n", "M\tF\t/mnt/a", "M\tF\t/mnt/a\t\n", "M\tF\t/mnt/a\t(1)\n", "+\tF\t/mnt/a\t(+1)\n", "-\tF\t/mnt/a\tx\n",
		"R\tF\t/mnt/a\n", "R\tF\t/mnt/a\t/mnt/b\t/mnt/c\n", "R\tF\t/mnt/a\t/else/b\n", "X\tF\t/mnt/a\n", "M\tX\t/mnt/a\n", "M\tFF\t/mnt/a\n",
		"M\tF\t/else/a\n", "M\tF\t/mnta\n", "M\tF\t/mnt(on_delete)\n", "M\tF\t/mnt/a b\n", "M\tF\t/mnt/\xc3\x9f\n",
		"M\tF\t/mnt/\\040\n", "M\tF\t/mnt/\\0089\n", "M\tF\t/mnt/\\0400\n", "M\tF\t/mnt/\\0000\n", "M\tF\t/mnt/\\\n",
		"Unable to determine path or stats for object 7 in tank@s\n",
	} {
		text := "M\tF\t/mnt/first\n" + line
		if line == "" {
			text = strings.TrimSuffix(text, "\n")
		}
		if got, err := parseDiff([]byte(text), "/mnt"); err == nil || got != nil {
			t.Errorf("%q: %+v", line, got)
		}
	}
}
