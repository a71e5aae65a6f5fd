package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

const fakeSecret = "cloned_abcdefghij_hush"

func (f *fake) CreateToken(_ context.Context, req *clonedv1.CreateTokenRequest) (*clonedv1.CreateTokenResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens = append(f.tokens, req)
	return &clonedv1.CreateTokenResponse{Secret: fakeSecret, Token: f.token(req)}, nil
}

func (f *fake) token(req *clonedv1.CreateTokenRequest) *clonedv1.Token {
	t := &clonedv1.Token{Id: "abcdefghij", Name: req.Name, Role: req.Role, Goldens: req.Goldens, Limits: req.Limits, CreateTime: timestamppb.Now(), CreatedBy: "unix:root"}
	if req.Ttl != nil {
		t.ExpireTime = timestamppb.New(time.Now().Add(req.Ttl.AsDuration()))
	}
	return t
}

func (f *fake) ListTokens(context.Context, *clonedv1.ListTokensRequest) (*clonedv1.ListTokensResponse, error) {
	resp := &clonedv1.ListTokensResponse{}
	for _, req := range f.tokens {
		resp.Tokens = append(resp.Tokens, f.token(req))
	}
	return resp, nil
}

func (f *fake) DeleteToken(_ context.Context, req *clonedv1.DeleteTokenRequest) (*clonedv1.DeleteTokenResponse, error) {
	if req.Name != "ci" {
		return nil, errs.New(errs.NotFound, "TOKEN_NOT_FOUND", "there is no token %q", req.Name)
	}
	f.tokens = nil
	return &clonedv1.DeleteTokenResponse{}, nil
}

func (f *fake) WhoAmI(ctx context.Context, _ *clonedv1.WhoAmIRequest) (*clonedv1.WhoAmIResponse, error) {
	who := strings.Join(metadata.ValueFromIncomingContext(ctx, "authorization"), "|")
	return &clonedv1.WhoAmIResponse{Principal: who, Role: clonedv1.Role_ROLE_OPERATOR}, nil
}

func TestTokenCommands(t *testing.T) {
	f, host := serve(t)
	out, stderr, code := ctl(t, host, "token", "create", "ci", "--role", "user", "--golden", "shop", "--golden", "crm", "--expires", "30d",
		"--max-clones", "10", "--max-memory", "8GiB", "--max-ttl", "24h", "--max-disk", "20GiB", "--rate", "60")
	if code != 0 || out != fakeSecret+"\n" || strings.Contains(stderr, "hush") || !strings.Contains(stderr, "token ci, user, for 29d") {
		t.Errorf("exit %d: %q, %q", code, out, stderr)
	}
	want := &clonedv1.CreateTokenRequest{
		Name: "ci", Role: clonedv1.Role_ROLE_USER, Goldens: []string{"shop", "crm"}, Ttl: durationpb.New(720 * time.Hour),
		Limits: &clonedv1.Limits{Clones: 10, MemoryBytes: 8 << 30, DiskBytes: 20 << 30, MaxTtl: durationpb.New(24 * time.Hour), RequestsPerMinute: 60},
	}
	if len(f.tokens) != 1 || f.tokens[0].String() != want.String() {
		t.Errorf("asked for %v", f.tokens)
	}
	out, _, _ = ctl(t, host, "token", "ls")
	for _, text := range []string{"ci", "user", "shop,crm", "10 clones, 8.0 GiB of memory, 20 GiB each, for 24h, 60 a minute", "for 29d", "unix:root"} {
		if !strings.Contains(out, text) {
			t.Errorf("no %q in\n%s", text, out)
		}
	}
	var list []map[string]any
	if out, _, _ = ctl(t, host, "token", "ls", "-o", "json"); json.Unmarshal([]byte(out), &list) != nil || len(list) != 1 || strings.Contains(out, "hush") {
		t.Error(out)
	}
	if out, _, _ = ctl(t, host, "token", "ls", "-o", "name"); out != "ci\n" {
		t.Error(out)
	}
	if _, stderr, code = ctl(t, host, "token", "rm", "ci", "none"); code != exitCodes[errs.NotFound] || len(f.tokens) != 0 {
		t.Errorf("exit %d: %s", code, stderr)
	}
	for _, args := range [][]string{{"a"}, {"a", "--role", "king"}, {"a", "--role", "unspecified"}, {"a", "--role", "user", "--expires", "soon"}, {"a", "--role", "user", "--max-disk", "1"}} {
		if _, stderr, code = ctl(t, host, append([]string{"token", "create"}, args...)...); code != exitCodes[errs.Invalid] || len(f.tokens) != 0 {
			t.Errorf("%v: exit %d: %s", args, code, stderr)
		}
	}
}

// TestShowsToken: from a file or the environment; there is no flag for its value.
func TestShowsToken(t *testing.T) {
	_, host := serve(t)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("cloned_a_file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(client.EnvToken, "cloned_a_env")
	for want, args := range map[string][]string{"cloned_a_env": {"whoami"}, "cloned_a_file": {"whoami", "--token-file", file}} {
		if out, stderr, code := ctl(t, host, args...); code != 0 || !strings.Contains(out, "Bearer "+want) || !strings.Contains(out, "operator") || !strings.Contains(out, "all") {
			t.Errorf("%v: exit %d: %s%s", args, code, out, stderr)
		}
	}
}
