package postgres

import (
	"context"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// impostor is what a clone's user can run in the place of the server: it speaks
// the protocol, and then says whatever it likes.
type impostor func(say func(...pgproto3.BackendMessage) error)

// serve answers on a listener until the test ends.
func (i impostor) serve(t *testing.T, l net.Listener) {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go i.session(conn)
		}
	}()
}

func (i impostor) session(conn net.Conn) {
	defer conn.Close()
	backend := pgproto3.NewBackend(conn, conn)
	if _, err := backend.ReceiveStartupMessage(); err != nil {
		return
	}
	say := func(messages ...pgproto3.BackendMessage) error {
		for _, m := range messages {
			backend.Send(m)
		}
		return backend.Flush()
	}
	if say(&pgproto3.AuthenticationOk{}, &pgproto3.ReadyForQuery{TxStatus: 'I'}) != nil {
		return
	}
	for {
		if _, err := backend.Receive(); err != nil {
			return
		}
		i(say)
	}
}

func columns(n int) *pgproto3.RowDescription {
	return &pgproto3.RowDescription{Fields: make([]pgproto3.FieldDescription, n)}
}

func row(values ...string) *pgproto3.DataRow {
	r := &pgproto3.DataRow{}
	for _, v := range values {
		r.Values = append(r.Values, []byte(v))
	}
	return r
}

var done = []pgproto3.BackendMessage{&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}, &pgproto3.ReadyForQuery{TxStatus: 'I'}}

// endless says the same until nobody listens any more.
func endless(first pgproto3.BackendMessage, then ...pgproto3.BackendMessage) impostor {
	return func(say func(...pgproto3.BackendMessage) error) {
		for err := say(first); err == nil; err = say(then...) {
		}
	}
}

// TestImpostors: whatever answers in a server's place, each of our questions to
// it ends, in an error of bounded size that is not taken for our own fault, and
// takes a bounded amount of memory.
func TestImpostors(t *testing.T) {
	huge := strings.Repeat("\x1b[2J\xff", 1<<20)
	many := make([]pgproto3.BackendMessage, 1000)
	for i := range many {
		many[i] = row()
	}
	for name, i := range map[string]impostor{
		"no columns": func(say func(...pgproto3.BackendMessage) error) { _ = say(columns(0), row(), done[0], done[1]) },
		"odd columns": func(say func(...pgproto3.BackendMessage) error) {
			_ = say(columns(9), row("a", "b", "c", "d", "e", "f", "g", "h", "i"), done[0], done[1])
		},
		"no numbers": func(say func(...pgproto3.BackendMessage) error) {
			_ = say(columns(3), row("x", huge, "t"), done[0], done[1])
		},
		"no code": func(say func(...pgproto3.BackendMessage) error) {
			_ = say(&pgproto3.ErrorResponse{Message: "x"}, done[1])
		},
		"a huge error": func(say func(...pgproto3.BackendMessage) error) {
			_ = say(&pgproto3.ErrorResponse{Code: "28000", Message: huge, Detail: huge}, done[1])
		},
		"endless rows":    endless(columns(3), many...),
		"endless notices": endless(&pgproto3.NoticeResponse{Message: "x"}, &pgproto3.NoticeResponse{Message: huge[:1<<16]}),
		"endless status":  endless(&pgproto3.ParameterStatus{Name: "x", Value: huge[:1<<16]}, &pgproto3.ParameterStatus{Name: "x", Value: huge[:1<<16]}),
	} {
		t.Run(name, func(t *testing.T) {
			volume := noted(t, "ready   ")
			socket, err := net.Listen("unix", filepath.Join(volume, runDir, ".s.PGSQL.5432"))
			if err != nil {
				t.Fatal(err)
			}
			i.serve(t, socket)
			published, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			i.serve(t, published)
			target := database.Target{ID: "c-1", VolumePath: volume, Password: "x", Addr: "127.0.0.1", Port: published.Addr().(*net.TCPAddr).Port}
			files := []database.File{{Path: "base/5/16384", Bytes: 1}}
			for what, ask := range map[string]func(context.Context) error{
				"ready":      func(ctx context.Context) error { return New().Ready(ctx, target) },
				"claim":      func(ctx context.Context) error { return New().Claim(ctx, target) },
				"checkpoint": func(ctx context.Context) error { return New().Checkpoint(ctx, target) },
				"relations": func(ctx context.Context) error {
					_, err := New().Relations(ctx, target, files)
					return err
				},
				"probe": func(ctx context.Context) error {
					_, err := askServer(ctx, database.Source{Kind: database.SourceBaseBackup, ConnInfo: "user=x sslmode=disable host=127.0.0.1 port=" + socketPort(published)})
					return err
				},
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				before := allocated()
				err := ask(ctx)
				cancel()
				// To a CHECKPOINT, "done" is an answer.
				if err == nil && what != "checkpoint" || errs.Is(err, errs.Internal) {
					t.Errorf("%s: %v", what, err)
				}
				if err != nil && len(err.Error()) > 8<<10 {
					t.Errorf("%s: an error of %d bytes", what, len(err.Error()))
				}
				if grown := allocated() - before; grown > 512<<20 {
					t.Errorf("%s took %d MiB", what, grown>>20)
				}
			}
		})
	}
}

func socketPort(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// allocated is how much memory is in use, in bytes.
func allocated() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
