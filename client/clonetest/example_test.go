package clonetest_test

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/client/clonetest"
)

// TestOrders is how a test of an application uses this package. It needs a daemon
// with the golden that EXAMPLE_GOLDEN names.
func TestOrders(t *testing.T) {
	golden := os.Getenv("EXAMPLE_GOLDEN")
	if golden == "" {
		t.Skip("EXAMPLE_GOLDEN names no golden")
	}
	for name, sql := range map[string]string{
		"cancel": "UPDATE orders SET status = 'cancelled'",
		"wipe":   "TRUNCATE orders CASCADE",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each has a database of its own
			db := clonetest.New(t, golden)
			conn, err := pgx.Connect(t.Context(), db.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(t.Context())
			var orders int
			if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM orders WHERE status <> 'cancelled'").Scan(&orders); err != nil || orders == 0 {
				t.Fatalf("%d orders, %v", orders, err)
			}
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Error(err)
			}
		})
	}
}
