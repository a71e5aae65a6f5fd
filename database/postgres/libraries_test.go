package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloned-db/cloned/database"
)

// TestCounting: the library is loaded if it is there and was asked for, beside
// others, and once.
func TestCounting(t *testing.T) {
	loads := func(req database.StartRequest) string {
		req.Runtime = processWorld(t).rt
		for _, arg := range New().Spec(req).Argv {
			if list, ok := strings.CutPrefix(arg, preload+"="); ok {
				return list
			}
		}
		return "none"
	}
	can := database.Prepared{CanCount: true, PreloadLibraries: []string{"auto_explain"}}
	for _, test := range []struct {
		req  database.StartRequest
		want string
	}{
		{database.StartRequest{Prepared: can}, "auto_explain"},
		{database.StartRequest{Prepared: can, CountStatements: true}, "auto_explain,pg_stat_statements"},
		{database.StartRequest{Prepared: can, CountStatements: true, Settings: map[string]string{preload: "$libdir/pg_stat_statements.so"}}, "$libdir/pg_stat_statements.so"},
		{database.StartRequest{Prepared: can, CountStatements: true, Settings: map[string]string{preload: ""}}, "pg_stat_statements"},
		{database.StartRequest{CountStatements: true}, ""},
	} {
		if got := loads(test.req); got != test.want {
			t.Errorf("%+v loads %q, want %q", test.req, got, test.want)
		}
	}
}

// TestCanLoad: what the image lacks is noticed before a clone fails for it.
func TestCanLoad(t *testing.T) {
	s := newSource(t)
	s.start()
	conn, err := pgconn.Connect(t.Context(), s.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for library, want := range map[string]bool{counting: true, "no_such_library": false} {
		if got, err := canLoad(t.Context(), conn, library); err != nil || got != want {
			t.Errorf("%s: %v, %v", library, got, err)
		}
	}
	conn.Close(t.Context())
	if got, err := canLoad(t.Context(), conn, counting); err == nil {
		t.Errorf("of a server that is gone: %v", got)
	}
}
