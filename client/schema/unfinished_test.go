package schema

import (
	"context"
	"crypto/rand"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/test/harness"
)

func TestWholeID(t *testing.T) {
	const epoch = 1 << 32
	for _, test := range []struct{ short, next, want int64 }{
		{700, 800, 700}, {800, 800, -1}, {2, 800, -1}, {4_000_000_000, 800, -1},
		{700, epoch + 800, epoch + 700}, {4_294_967_000, epoch + 800, 4_294_967_000}, {900, epoch + 800, -1},
		{3, 3*epoch + 4, 3*epoch + 3},
	} {
		if got := wholeID(test.short, test.next); got != test.want {
			t.Errorf("%d before %d is %d, want %d", test.short, test.next, got, test.want)
		}
	}
}

// TestCommittedSince: what was under way when a copy was made, and is committed
// by now, is found; nothing else is.
func TestCommittedSince(t *testing.T) {
	r := newRig(t)
	live := r.database(t, "CREATE TABLE t (x int)")
	begin := func(end string) (finish func()) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), live.Config().ConnString())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(context.Background()) })
		exec := func(sql string) {
			t.Helper()
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
		exec("BEGIN; INSERT INTO t VALUES (1); SAVEPOINT s; INSERT INTO t VALUES (2)")
		return func() { exec(end) }
	}
	copied := func() *pgx.Conn {
		t.Helper()
		harness.ExecSQL(t, live.Config().ConnString(), "CHECKPOINT")
		s := r.server.Copy(r.server.Dir + "-" + rand.Text())
		s.Start()
		conn, err := pgx.Connect(t.Context(), s.URL(live.Config().Database))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(context.Background()) })
		return conn
	}
	check := func(what string, base *pgx.Conn, want bool, sides ...*pgx.Conn) {
		t.Helper()
		if got, err := CommittedSince(t.Context(), base, sides...); err != nil || got != want {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	roll := begin("ROLLBACK")
	quiet := copied()
	roll()
	harness.ExecSQL(t, live.Config().ConnString(), "INSERT INTO t SELECT generate_series(1, 5)")
	check("rolled back, and others committed", quiet, false, live)
	commit := begin("COMMIT")
	base := copied()
	check("it is under way still", base, false, live, quiet)
	commit()
	check("it is committed", base, true, quiet, live)
	check("on the other side it is not", base, false, quiet)
	begin("PREPARE TRANSACTION 'p'")()
	prepared := copied()
	check("it is prepared still", prepared, false, live)
	harness.ExecSQL(t, live.Config().ConnString(), "COMMIT PREPARED 'p'")
	check("what was prepared is committed", prepared, true, live)
}
