package daemon

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/daemon/control/controltest"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/internal/address"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
	"github.com/cloned-db/cloned/state"
)

// accessRig is the whole API over a real socket, on a control plane whose world is
// in memory.
type accessRig struct {
	t      *testing.T
	path   string // of the state
	server *server
	addr   address.Address
	log    *logBuffer
	tokens *auth.Tokens
	store  *state.Store
	plane  *control.Plane
}

func newAccessRig(t *testing.T) *accessRig {
	t.Helper()
	r := &accessRig{t: t, path: filepath.Join(t.TempDir(), "state.db"), log: &logBuffer{}}
	var err error
	if r.store, err = state.Open(r.path, state.Options{}); err != nil {
		t.Fatal(err)
	}
	r.tokens = auth.NewTokens(r.store)
	session := controltest.NewWorld().Session()
	r.plane, err = control.New(control.Config{
		Store: r.store, Driver: controltest.Driver{Session: session}, Runtime: controltest.Runtime{Session: session},
		Engines: map[string]database.Engine{"postgres": controltest.Engine{Session: session}},
		Log:     r.log.logger(),
		Addr:    "127.0.0.1", PortFirst: 24200, PortLast: 24299, KeepFor: time.Hour,
		Key: make([]byte, 32), ReconcileEvery: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.plane.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := r.store.Close(); err != nil {
			t.Error(err)
		}
	})
	who := own()
	who.Tokens = r.tokens
	r.server, r.addr = serveOn(t, r.log, who, func(s *server) { s.register(r.plane, r.plane.CheckHealth, r.tokens, r.log.logger()) })
	return r
}

// token makes a token.
func (r *accessRig) token(name string, role auth.Role, goldens ...string) string {
	r.t.Helper()
	secret, _, err := r.tokens.Create("test", auth.TokenRequest{Name: name, Role: role, Goldens: goldens})
	if err != nil {
		r.t.Fatal(err)
	}
	return secret
}

// as returns a client that has a new token of the name.
func (r *accessRig) as(name string, role auth.Role, goldens ...string) *client.Client {
	r.t.Helper()
	return dial(r.t, r.addr, client.WithToken(r.token(name, role, goldens...)))
}

func (r *accessRig) golden(name string) {
	r.t.Helper()
	_, _, err := r.plane.CreateGolden(r.t.Context(), control.CreateGoldenRequest{
		Name: name, Source: state.GoldenSource{Kind: string(database.SourceDirectory), Directory: "/" + name},
	}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
}

// clone makes a clone of the golden shop.
func (r *accessRig) clone(c *client.Client, name string) *clonedv1.Clone {
	r.t.Helper()
	clone, _, err := c.CreateAndWait(r.t.Context(), &clonedv1.CreateCloneRequest{Name: name, Golden: "shop"})
	if err != nil {
		r.t.Fatal(err)
	}
	return clone
}
