package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cloned-db/cloned/daemon/audit"
	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/address"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// telling is a service whose clone "own" has credentials.
type telling struct{ fakeClones }

func (s *telling) GetClone(ctx context.Context, req *clonedv1.GetCloneRequest) (*clonedv1.GetCloneResponse, error) {
	if req.GetName() == "own" {
		return &clonedv1.GetCloneResponse{Clone: &clonedv1.Clone{Endpoint: &clonedv1.Endpoint{Password: "secret"}}}, nil
	}
	return s.fakeClones.GetClone(ctx, req)
}

func (s *telling) DeleteClone(_ context.Context, req *clonedv1.DeleteCloneRequest) (*clonedv1.DeleteCloneResponse, error) {
	if req.GetName() == "missing" {
		return nil, errs.New(errs.NotFound, "CLONE_NOT_FOUND", "no clone")
	}
	return &clonedv1.DeleteCloneResponse{}, nil
}

// auditDir is where the log of a server of startServer is.
func auditDir(addr address.Address) string { return filepath.Join(filepath.Dir(addr.Addr), dirAudit) }

// viewers knows one token, a viewer's.
type viewers struct{}

func (viewers) Verify(_ context.Context, token string) (auth.Principal, error) {
	if token != "cloned_viewer" {
		return auth.Principal{}, auth.Unauthenticated("no such token")
	}
	return auth.Principal{Name: "token:viewer", Role: auth.Viewer}, nil
}

func entries(t *testing.T, l *audit.Log) (all []audit.Entry) {
	t.Helper()
	if err := l.Read(t.Context(), func(e audit.Entry) error { all = append(all, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestAudited: what changes something is written down, done or refused, and what
// tells credentials; what only looks is not.
func TestAudited(t *testing.T) {
	s, addr, _ := startServer(t, &telling{}, own())
	c := dial(t, addr)
	ctx := t.Context()
	for _, name := range []string{"own", "other", "missing"} {
		_, _ = c.Clones.GetClone(ctx, &clonedv1.GetCloneRequest{Name: name}) // whether it is there is not what counts
	}
	if _, err := c.Clones.DeleteClone(ctx, &clonedv1.DeleteCloneRequest{Name: "dev", Now: true}); err != nil {
		t.Fatal(err)
	}
	_, missing := c.Clones.DeleteClone(ctx, &clonedv1.DeleteCloneRequest{Name: "missing"})
	_, invalid := c.Clones.DeleteClone(ctx, &clonedv1.DeleteCloneRequest{})
	if missing == nil || invalid == nil {
		t.Fatal("what should be refused is not")
	}
	large := &clonedv1.UpdateCloneRequest{Name: "large", RemoveLabels: []string{strings.Repeat("x", maxAudited)}}
	if _, err := c.Clones.UpdateClone(ctx, large); err == nil {
		t.Fatal("nobody serves this")
	}
	type short struct{ method, request, outcome, reason string }
	var have []short
	for _, e := range entries(t, s.audit) {
		var request map[string]any
		if err := json.Unmarshal(e.Request, &request); err != nil {
			t.Fatal(err)
		}
		name, _ := request["name"].(string)
		have = append(have, short{e.Method, name, e.Outcome, e.Reason})
		if e.Principal != "unix:root" && os.Geteuid() == 0 || e.Role != "admin" || !strings.HasPrefix(e.From, "unix uid=") || e.ID == "" || e.Time.IsZero() || e.TookMS <= 0 {
			t.Errorf("%+v", e)
		}
		if len(e.Request) > maxAudited {
			t.Errorf("%d bytes of a request", len(e.Request))
		}
	}
	want := []short{
		{"GetClone", "own", "OK", ""},
		{"DeleteClone", "dev", "OK", ""},
		{"DeleteClone", "missing", "NotFound", "CLONE_NOT_FOUND"},
		{"DeleteClone", "", "InvalidArgument", "INVALID_FIELD"},
		{"UpdateClone", "large", "Unimplemented", ""},
	}
	if len(have) != len(want) {
		t.Fatalf("have %v", have)
	}
	for i := range want {
		if have[i] != want[i] {
			t.Errorf("have %v, want %v", have[i], want[i])
		}
	}
	if raw, err := os.ReadFile(filepath.Join(auditDir(addr), "audit.log")); err != nil || strings.Contains(string(raw), "secret") {
		t.Errorf("the log has a password, or can't be read: %v", err)
	}
}

// TestAuditRefused: who is known and may not is written down; a stranger can't
// fill the log.
func TestAuditRefused(t *testing.T) {
	who := &auth.Authenticator{Local: auth.Local{Own: uint32(os.Geteuid())}, Tokens: viewers{}}
	s, addr, _ := startServer(t, &telling{}, who)
	c := dial(t, addr)
	call := func(token string) error {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
		_, err := c.Clones.DeleteClone(ctx, &clonedv1.DeleteCloneRequest{Name: "dev"})
		return err
	}
	if err := call("cloned_wrong"); !errs.Is(err, errs.Denied) {
		t.Errorf("a stranger: %v", err)
	}
	if all := entries(t, s.audit); len(all) != 0 {
		t.Errorf("strangers are written down: %+v", all)
	}
	if err := call("cloned_viewer"); !errs.Is(err, errs.Denied) {
		t.Errorf("a viewer: %v", err)
	}
	if all := entries(t, s.audit); len(all) != 1 || all[0].Principal != "token:viewer" || all[0].Outcome != codes.PermissionDenied.String() || all[0].Reason != reasonRole {
		t.Errorf("have %+v", all)
	}
}

// TestAuditUnwritable: what can't be written down is not done.
func TestAuditUnwritable(t *testing.T) {
	_, addr, _ := startServer(t, &telling{}, own())
	c := dial(t, addr)
	remove := func() error {
		_, err := c.Clones.DeleteClone(t.Context(), &clonedv1.DeleteCloneRequest{Name: "dev"})
		return err
	}
	if err := errors.Join(os.RemoveAll(auditDir(addr)), os.WriteFile(auditDir(addr), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	_ = remove() // is done, and can't be written down
	if err := remove(); !errs.Is(err, errs.Unavailable) || errs.As(err).Reason != "AUDIT_UNWRITABLE" {
		t.Errorf("deleting: %v", err)
	}
	if _, err := c.Clones.GetClone(t.Context(), &clonedv1.GetCloneRequest{Name: "dev"}); err != nil {
		t.Errorf("reading: %v", err)
	}
}

// TestListAudit reads the log through the API.
func TestListAudit(t *testing.T) {
	_, addr, _ := startServer(t, &telling{}, own())
	c := dial(t, addr)
	for _, name := range []string{"a", "b", "c", "b"} {
		if _, err := c.Clones.DeleteClone(t.Context(), &clonedv1.DeleteCloneRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []struct {
		req   *clonedv1.ListAuditRequest
		names string
	}{
		{&clonedv1.ListAuditRequest{}, "a b c b"},
		{&clonedv1.ListAuditRequest{Tail: 3}, "b c b"},
		{&clonedv1.ListAuditRequest{Tail: 1}, "b"},
		{&clonedv1.ListAuditRequest{Tail: 9}, "a b c b"},
		{&clonedv1.ListAuditRequest{Name: "b"}, "b b"},
		{&clonedv1.ListAuditRequest{Method: "CreateClone"}, ""},
		{&clonedv1.ListAuditRequest{Principal: "token:ci"}, ""},
		{&clonedv1.ListAuditRequest{SinceTime: timestamppb.New(time.Now().Add(time.Hour))}, ""},
	} {
		stream, err := c.Audit.ListAudit(t.Context(), want.req)
		if err != nil {
			t.Fatal(err)
		}
		var have []string
		for {
			resp, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			var request struct{ Name string }
			if err := json.Unmarshal([]byte(resp.GetEntry().GetRequest()), &request); err != nil {
				t.Fatal(err)
			}
			have = append(have, request.Name)
		}
		if !slices.Equal(have, strings.Fields(want.names)) {
			t.Errorf("%v: %v", want.req, have)
		}
	}
}
