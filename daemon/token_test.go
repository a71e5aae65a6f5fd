package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/errs/grpcstatus"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// TestTokens makes, uses, lists and deletes a token over the API.
func TestTokens(t *testing.T) {
	r := newAccessRig(t)
	root := dial(t, r.addr) // by its peer: the daemon's own user
	req := &clonedv1.CreateTokenRequest{
		Name: "ci", Role: clonedv1.Role_ROLE_USER, Goldens: []string{"shop"}, Ttl: durationpb.New(time.Hour),
		Limits: &clonedv1.Limits{Clones: 10, MemoryBytes: 8 << 30, DiskBytes: 20 << 30, MaxTtl: durationpb.New(24 * time.Hour), RequestsPerMinute: 60},
	}
	made, err := root.Access.CreateToken(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	me, err := root.Access.WhoAmI(t.Context(), &clonedv1.WhoAmIRequest{})
	if err != nil || me.GetRole() != clonedv1.Role_ROLE_ADMIN || !strings.HasPrefix(me.GetPrincipal(), "unix:") {
		t.Errorf("got %v, %v", me, err)
	}
	if tok := made.GetToken(); tok.GetCreatedBy() != me.GetPrincipal() || tok.GetExpireTime().AsTime().Sub(tok.GetCreateTime().AsTime()) != time.Hour {
		t.Errorf("got %v", tok)
	}
	if _, err := root.Access.CreateToken(t.Context(), req); !errs.Is(err, errs.Exists) || errs.As(err).Hint == "" {
		t.Errorf("twice: %v", err)
	}
	ci := dial(t, r.addr, client.WithToken(made.GetSecret()))
	who, err := ci.Access.WhoAmI(t.Context(), &clonedv1.WhoAmIRequest{})
	if err != nil || who.GetPrincipal() != "token:ci" || who.GetRole() != req.GetRole() || fmt.Sprint(who.GetGoldens()) != "[shop]" || who.GetLimits().String() != req.GetLimits().String() {
		t.Errorf("got %v, %v", who, err)
	}
	list, err := root.Access.ListTokens(t.Context(), &clonedv1.ListTokensRequest{})
	if err != nil || len(list.GetTokens()) != 1 || list.GetTokens()[0].String() != made.GetToken().String() || strings.Contains(list.String(), secretOf(made.GetSecret())) {
		t.Errorf("got %v, %v", list, err)
	}
	if _, err := root.Access.DeleteToken(t.Context(), &clonedv1.DeleteTokenRequest{Name: "ci"}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Access.DeleteToken(t.Context(), &clonedv1.DeleteTokenRequest{Name: "ci"}); !errs.Is(err, errs.NotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if _, err := ci.Access.WhoAmI(t.Context(), &clonedv1.WhoAmIRequest{}); errs.As(err).Reason != grpcstatus.ReasonUnauthenticated {
		t.Errorf("after its deletion: %v", err)
	}
}

func secretOf(token string) string { return token[strings.LastIndex(token, "_")+1:] }

// TestBadTokens: a token that is no good opens nothing, though the connection
// alone would be an admin's; and none of it is repeated anywhere.
func TestBadTokens(t *testing.T) {
	r := newAccessRig(t)
	good, gone, old := r.token("good", auth.User), r.token("gone", auth.User), ""
	if err := r.tokens.Delete("gone"); err != nil {
		t.Fatal(err)
	}
	var err error
	if old, _, err = r.tokens.Create("test", auth.TokenRequest{Name: "old", Role: auth.Admin, TTL: time.Nanosecond}); err != nil {
		t.Fatal(err)
	}
	id, secret := strings.Split(good, "_")[1], secretOf(good)
	other := dial(t, r.addr)
	for name, bad := range map[string]string{
		"expired": old, "deleted": gone,
		"wrong secret":   "cloned_" + id + "_" + strings.Repeat("a", len(secret)),
		"short secret":   good[:len(good)-1],
		"long secret":    good + "a",
		"no secret":      "cloned_" + id + "_",
		"no second part": "cloned_" + id,
		"upper case":     "cloned_" + id + "_" + strings.ToUpper(secret),
		"wrong ID":       "cloned_aaaaaaaaaa_" + secret,
		"no ID":          "cloned__" + secret,
		"prefix only":    "cloned_",
		"another's":      "eyJhbGciOiJSUzI1NiJ9.e30.sig",
		"huge":           "cloned_" + id + "_" + strings.Repeat("a", 17<<10),
	} {
		for _, full := range []string{"WhoAmI", "Health"} { // even what nobody has to have a name for
			ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+bad)
			var err error
			if full == "Health" {
				_, err = client.Dial(t.Context(), r.addr.String(), client.WithToken(bad))
			} else {
				_, err = other.Access.WhoAmI(ctx, &clonedv1.WhoAmIRequest{})
			}
			e := errs.As(err)
			if !errs.Is(err, errs.Denied) || e.Reason != grpcstatus.ReasonUnauthenticated {
				t.Errorf("%s, %s: %v", name, full, err)
				continue
			}
			if text := e.Error() + e.Hint; len(bad) > 20 && strings.Contains(text, bad[len(bad)-10:]) || strings.Contains(text, secret[:10]) {
				t.Errorf("%s, %s: the error repeats it: %q", name, full, text)
			}
		}
	}
	for name, values := range map[string][]string{"two": {"Bearer " + good, "Bearer " + good}, "empty": {""}, "no scheme": {good}, "another scheme": {"Basic " + good}, "only the scheme": {"Bearer "}} {
		ctx := t.Context()
		for _, v := range values {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", v)
		}
		if _, err := other.Access.WhoAmI(ctx, &clonedv1.WhoAmIRequest{}); errs.As(err).Reason != grpcstatus.ReasonUnauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := dial(t, r.addr, client.WithToken(good)).Access.WhoAmI(t.Context(), &clonedv1.WhoAmIRequest{}); err != nil {
		t.Errorf("the good one: %v", err)
	}
	r.nowhere(secret, secretOf(old), secretOf(gone), strings.Repeat("a", len(secret)), "eyJhbGciOiJSUzI1NiJ9")
}

// nowhere checks that the log, at its most talkative, and the state have none of
// the texts.
func (r *accessRig) nowhere(secrets ...string) {
	r.t.Helper()
	raw, err := os.ReadFile(r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range secrets {
		if lines := r.log.lines(s); len(lines) > 0 {
			r.t.Errorf("the log has a secret: %q", lines[0])
		}
		if bytes.Contains(raw, []byte(s)) {
			r.t.Errorf("the state has the secret %s", s)
		}
		if enc, _ := json.Marshal([]byte(s)); bytes.Contains(raw, bytes.Trim(enc, `"`)) {
			r.t.Errorf("the state has the secret %s, encoded", s)
		}
	}
	if len(r.log.lines("")) == 0 || len(raw) == 0 {
		r.t.Error("there is no log, or no state, to look at")
	}
}

// TestStreamsEndWithTheToken: what a token has opened ends with it, by deletion
// and by its time, and not before.
func TestStreamsEndWithTheToken(t *testing.T) {
	r := newAccessRig(t)
	r.golden("shop")
	for name, end := range map[string]func(){
		"deleted": func() {
			if err := r.tokens.Delete("deleted"); err != nil {
				t.Error(err)
			}
		},
		"expired": nil,
	} {
		req := auth.TokenRequest{Name: name, Role: auth.User}
		if end == nil {
			req.TTL = time.Second
		}
		token, _, err := r.tokens.Create("test", req)
		if err != nil {
			t.Fatal(err)
		}
		c := dial(t, r.addr, client.WithToken(token))
		clone, _, err := c.CreateAndWait(t.Context(), &clonedv1.CreateCloneRequest{Name: name, Golden: "shop", Held: true})
		if err != nil {
			t.Fatal(err)
		}
		watch, err := c.Clones.WatchClones(t.Context(), &clonedv1.WatchClonesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		hold, err := c.Clones.HoldClone(t.Context(), &clonedv1.HoldCloneRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := watch.Recv(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := hold.Recv(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if end != nil {
			end()
		}
		for err = nil; err == nil; {
			_, err = watch.Recv()
		}
		_, holdErr := hold.Recv()
		for what, err := range map[string]error{"watch": err, "hold": holdErr} {
			if e := errs.As(err); e == nil || e.Reason != grpcstatus.ReasonUnauthenticated || !strings.Contains(e.Error(), "token:"+name) {
				t.Errorf("%s of %s: %v", what, name, err)
			}
		}
		eventually(t, "let go of", func() error {
			if r.plane.IsHeld(clone.GetId()) {
				return errors.New("it is held still")
			}
			return nil
		})
	}
}

// TestTokensAreKept over a restart of the daemon, on loopback TCP too.
func TestTokensAreKept(t *testing.T) {
	cfg := testConfig(t)
	stop := startDaemon(t, cfg, testOptions())
	made, err := dialDaemon(t, cfg.Listen[0]).Access.CreateToken(t.Context(), &clonedv1.CreateTokenRequest{Name: "ci", Role: clonedv1.Role_ROLE_VIEWER})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(made.GetSecret()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	stop()
	startDaemon(t, cfg, testOptions())
	for _, target := range cfg.Listen {
		c, err := client.Dial(t.Context(), target, client.WithTokenFile(file))
		if err != nil {
			t.Fatal(err)
		}
		if me, err := c.Access.WhoAmI(t.Context(), &clonedv1.WhoAmIRequest{}); err != nil || me.GetPrincipal() != "token:ci" {
			t.Errorf("%s: %v, %v", target, me, err)
		}
		if _, err := c.Goldens.DeleteGolden(t.Context(), &clonedv1.DeleteGoldenRequest{Name: "x"}); errs.As(err).Reason != reasonRole {
			t.Errorf("%s: %v", target, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
