package main

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// ListAudit has one entry, which says what was asked for.
func (f *fake) ListAudit(req *clonedv1.ListAuditRequest, stream grpc.ServerStreamingServer[clonedv1.ListAuditResponse]) error {
	return stream.Send(&clonedv1.ListAuditResponse{Entry: &clonedv1.AuditEntry{
		Time: timestamppb.New(time.Unix(1_700_000_000, 0)), Principal: "token:ci\x1b[2J", Role: "user", Method: "DeleteClone",
		Request: string(toJSON(req)), Outcome: "NotFound", Reason: "CLONE_NOT_FOUND", RequestId: "r1",
	}})
}

func TestAudit(t *testing.T) {
	_, host := serve(t)
	out, stderr, code := ctl(t, host, "audit", "dev", "--principal", "token:ci", "--method", "DeleteClone", "--tail", "5", "--since", "1h")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	for _, want := range []string{"token:ci", "DeleteClone", "NotFound CLONE_NOT_FOUND", `"name":"dev"`, `"tail":5`, `"sinceTime"`} {
		if !strings.Contains(strings.ReplaceAll(out, ": ", ":"), want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("a principal commands the terminal: %q", out)
	}
	if out, _, code := ctl(t, host, "audit", "-o", "json"); code != 0 || !strings.Contains(strings.ReplaceAll(out, " ", ""), `"requestId":"r1"`) || strings.Count(out, "\n") != 1 {
		t.Errorf("exit %d: %s", code, out)
	}
	if _, stderr, code := ctl(t, host, "audit", "--since", "-1h"); code != 2 || !strings.Contains(stderr, "since") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}
