package rehearse

import (
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/errs"
)

func ms(n int) Duration { return Duration{time.Duration(n) * time.Millisecond} }

// bad is a report of a command that does everything that a gate knows of.
func bad() Report {
	return Report{
		Took: ms(11 * 60 * 1000), ExitCode: 1, Error: "exit status 1",
		Locks: []Lock{
			{Statement: "alter table a add x int", Mode: "AccessExclusive", Table: "public.a", Held: ms(1500), Waited: ms(600), BlocksReads: true, BlocksWrites: true},
			{Statement: "alter table b add x int", Mode: "AccessExclusive", Table: "public.b", Held: ms(2500), BlocksReads: true, BlocksWrites: true},
			{Statement: "create index on c (x)", Mode: "Share", Table: "public.c", Held: ms(700), BlocksWrites: true},
		},
		Rewrites: []Rewrite{{Table: "public.a", Bytes: 60e6}, {Table: "public.b", Bytes: 60e6}},
		WALBytes: 2e9, SizeBefore: 1e9, SizeAfter: 3e9,
		Log: []LogLine{{Severity: "ERROR", Message: "no", Count: 1}},
	}
}

func TestGateCheck(t *testing.T) {
	good := Report{
		Took:  ms(100),
		Locks: []Lock{{Mode: "ShareUpdateExclusive", Table: "public.a", Held: ms(90000)}},
		Log:   []LogLine{{Severity: "WARNING", Message: "hm", Count: 1}},
	}
	for _, c := range []struct {
		gate string
		// reason is a part of the first reason that the bad report breaks it for;
		// empty if it passes.
		reason string
	}{
		{"", ""},
		{"exclusive-lock>2s", "AccessExclusive on public.b for 2.5 s by alter table b"},
		{"exclusive-lock>1s", "(and 1 more)"},
		{"exclusive-lock>3s", ""},
		{"exclusive-lock", "public.b"},
		{"share-lock>500ms", "Share on public.c for 700 ms"},
		{"share-lock>0.7s", ""},
		{"share-lock", "public.c"},
		{"blocks-reads>2s", "public.b"},
		{"blocks-reads>2.2s", "public.b"},
		{"blocks-reads>2.5s", ""},
		{"blocks-writes>600ms", "(and 2 more)"},
		{"rewrite", "114 MiB rewritten: public.a, public.b"},
		{"rewrite>100MB", "114 MiB rewritten"},
		{"rewrite>120MB", ""},
		{"wal>1GB", "1.9 GiB of WAL"},
		{"wal>2GB", ""},
		{"growth>1GB", "grew by 1.9 GiB"},
		{"growth>2GiB", ""},
		{"duration>10m", "ran for 11m0s"},
		{"duration>1h", ""},
		{"error", "the command failed: exit status 1"},
		{"wal>1TB, duration > 10m ,rewrite>1TB", "ran for"},
	} {
		g, err := ParseGate(c.gate)
		if err != nil {
			t.Errorf("%s: %v", c.gate, err)
			continue
		}
		if reasons := g.Check(good); len(reasons) != 0 {
			t.Errorf("%s: a harmless report breaks it: %q", c.gate, reasons)
		}
		reasons := g.Check(bad())
		if c.reason == "" {
			if len(reasons) != 0 {
				t.Errorf("%s: got %q, want a pass", c.gate, reasons)
			}
			continue
		}
		if len(reasons) != 1 || !strings.Contains(reasons[0], c.reason) {
			t.Errorf("%s: got %q, want %q", c.gate, reasons, c.reason)
		}
	}
}

func TestGateLogError(t *testing.T) {
	g, err := ParseGate("error")
	if err != nil {
		t.Fatal(err)
	}
	got := g.Check(Report{Log: []LogLine{{Severity: "WARNING", Message: "hm"}, {Severity: "FATAL", Message: "out"}}})
	if len(got) != 1 || got[0] != "error: the server logged FATAL: out" {
		t.Errorf("got %q", got)
	}
	if got := g.Check(Report{ExitCode: 3}); len(got) != 1 || !strings.Contains(got[0], "exit code 3") {
		t.Errorf("got %q", got)
	}
}

func TestGateAll(t *testing.T) {
	const text = "exclusive-lock>2s,share-lock>500ms,blocks-reads>1s,blocks-writes>1s,rewrite>100MB,wal>1GB,growth>1GB,duration>10m,error"
	g, err := ParseGate(text)
	if err != nil {
		t.Fatal(err)
	}
	if g.String() != text {
		t.Errorf("got %s", g)
	}
	if reasons := g.Check(bad()); len(reasons) != len(terms()) {
		t.Errorf("got %d reasons, want one for each of %d terms: %q", len(reasons), len(terms()), reasons)
	}
}

func TestParseGateErrors(t *testing.T) {
	for _, c := range []struct{ gate, word string }{
		{"lock>2s", `"lock" is no term`},
		{"exclusive-lock>2", `"2" in`},
		{"exclusive-lock>", `"" in`},
		{"exclusive-lock>-1s", `"-1s" in`},
		{"exclusive-lock>100MB", "such as 2s"},
		{"rewrite>2s", "such as 100MB"},
		{"rewrite>-1MB", "such as 100MB"},
		{"rewrite>NaNMB", "such as 100MB"},
		{"rewrite>1e300TB", "such as 100MB"},
		{"wal>1e3000B", "such as 100MB"},
		{"wal", `"wal" needs a limit: wal>100MB`},
		{"duration", "needs a limit"},
		{"error>1s", "takes no limit"},
		{"error,,rewrite", "empty term"},
		{"error,", "empty term"},
		{"ERROR", "is no term"},
		{">1s", `"" is no term`},
		{"wal>=1GB", `"=1GB" in`},
	} {
		_, err := ParseGate(c.gate)
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: got %v, want an error of kind invalid", c.gate, err)
			continue
		}
		if e := errs.As(err); e.Field != "fail-on" || !strings.Contains(e.Message, c.word) {
			t.Errorf("%s: field %q: %v, want %q", c.gate, e.Field, err, c.word)
		}
		for _, term := range terms() {
			if !strings.Contains(err.Error(), term.name) {
				t.Errorf("%s: the error does not list %s: %v", c.gate, term.name, err)
			}
		}
	}
}

// FuzzParseGate checks that a gate that is accepted can be written and read
// again, means the same, and can be checked.
func FuzzParseGate(f *testing.F) {
	for _, seed := range []string{"", "error", "exclusive-lock>2s,rewrite", "wal>1.5GiB , growth>1kB", "duration>1h2m3s", "rewrite>>1", "share-lock>%s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g, err := ParseGate(text)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Errorf("%q: %v is not of kind invalid", text, err)
			}
			return
		}
		again, err := ParseGate(g.String())
		if err != nil {
			t.Fatalf("%q became %q: %v", text, g, err)
		}
		first, second := g.Check(bad()), again.Check(bad())
		if strings.Join(first, "\n") != strings.Join(second, "\n") {
			t.Errorf("%q fails with %q, as %q with %q", text, first, g, second)
		}
		for _, l := range g.limits {
			if l.most < 0 {
				t.Errorf("%q has the negative limit %d", text, l.most)
			}
		}
	})
}
