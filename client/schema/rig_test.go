package schema

import (
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/test/harness"
)

// rig is a server for the tests of a function, with databases of their own.
type rig struct {
	t      *testing.T
	server *harness.Server

	mu sync.Mutex
	n  int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, server: harness.NewServer(t)}
	r.server.Exec("postgres", "CREATE ROLE reader")
	return r
}

// database makes one and runs the statements in it.
func (r *rig) database(t *testing.T, statements ...string) *pgx.Conn {
	t.Helper()
	r.mu.Lock()
	r.n++
	name := fmt.Sprintf("d%d", r.n)
	r.server.Exec("postgres", "CREATE DATABASE "+name)
	r.mu.Unlock()
	conn, err := pgx.Connect(t.Context(), r.server.URL(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(t.Context()) })
	for _, s := range statements {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	return conn
}

func read(t *testing.T, conn *pgx.Conn) Schema {
	t.Helper()
	s, err := Read(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
