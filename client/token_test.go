package client

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/cloned-db/cloned/errs"
)

// doorman notes what each call shows.
type doorman struct {
	healthv1.UnimplementedHealthServer
	shown []string
}

func (d *doorman) Check(ctx context.Context, _ *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	d.shown = metadata.ValueFromIncomingContext(ctx, "authorization")
	return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}, nil
}

func newDoorman(t *testing.T) (*doorman, string) {
	t.Helper()
	d := &doorman{}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	healthv1.RegisterHealthServer(s, d)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return d, "unix://" + path
}

// TestToken: what is given counts more than the environment, the token there more
// than the file, and a file is read for each call.
func TestToken(t *testing.T) {
	d, target := newDoorman(t)
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shows := func(want string, opts ...Option) *Client {
		t.Helper()
		c, err := Dial(t.Context(), target, opts...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if got := strings.Join(d.shown, "|"); got != want {
			t.Errorf("it shows %q, and should show %q", got, want)
		}
		return c
	}
	shows("")
	write("cloned_a_1\n")
	c := shows("Bearer cloned_a_1", WithTokenFile(file))
	write("cloned_a_2")
	if err := c.ping(t.Context()); err != nil || strings.Join(d.shown, "|") != "Bearer cloned_a_2" {
		t.Errorf("after a change of the file: %q, %v", d.shown, err)
	}
	t.Setenv(EnvTokenFile, file)
	shows("Bearer cloned_a_2")
	t.Setenv(EnvToken, "cloned_a_3")
	shows("Bearer cloned_a_3")
	shows("Bearer cloned_a_4", WithToken("cloned_a_4"))
	shows("Bearer cloned_a_2", WithTokenFile(file))
}

// TestTokenKept: a token is sent nowhere where others can read it, and no error
// repeats it.
func TestTokenKept(t *testing.T) {
	d, target := newDoorman(t)
	for _, remote := range []string{"tcp://192.0.2.1:7432", "tcp://db.example.com:7432"} {
		if _, err := Dial(t.Context(), remote, WithToken("cloned_a_b")); errs.As(err).Reason != "TOKEN_IN_THE_CLEAR" || !errs.Is(err, errs.Invalid) || errs.As(err).Hint == "" {
			t.Errorf("%s: %v", remote, err)
		}
	}
	for name, bad := range map[string]string{"empty": "", "two lines": "hush\nhush", "a space": "hush hush", "not ASCII": "hüsh"} {
		_, err := Dial(t.Context(), target, WithToken(bad))
		if e := errs.As(err); !errs.Is(err, errs.Invalid) || e.Reason != "TOKEN" || bad != "" && strings.Contains(e.Error()+e.Hint, bad[:3]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Dial(t.Context(), target, WithTokenFile(filepath.Join(t.TempDir(), "none"))); errs.As(err).Reason != "TOKEN_FILE" || errs.As(err).Hint == "" {
		t.Errorf("no file: %v", err)
	}
	if d.shown != nil {
		t.Errorf("it was shown %q", d.shown)
	}
}
