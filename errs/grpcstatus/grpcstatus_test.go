package grpcstatus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloned-db/cloned/errs"
)

// TestRoundTrip sends an error of every kind, with all that it can carry, to
// the client and compares.
func TestRoundTrip(t *testing.T) {
	for _, kind := range errs.Kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			sent := errs.New(kind, "SOME_REASON", "it broke: %w", errors.New("because")).
				WithHint("mend %s", "it").WithPhase("start").WithLog([]string{"first", "", "last"})
			sent.Field = "name"
			for _, retryable := range []bool{true, false} {
				sent.Retryable = retryable
				got := errs.As(ToError(FromError(fmt.Errorf("creating: %w", sent), "req-1").Err()))

				want := *sent
				want.Message, want.Err = "creating: it broke: because", got.Err
				if kind == errs.Internal {
					want.Message = "internal error, request ID req-1"
					want.Hint = "look for the request ID in the daemon's log"
				}
				if !reflect.DeepEqual(*got, want) {
					t.Errorf("got  %+v\nwant %+v", *got, want)
				}
				if got.Error() != want.Message {
					t.Errorf("text %q, want %q", got.Error(), want.Message)
				}
				if id := RequestID(got); id != "req-1" {
					t.Errorf("request ID %q", id)
				}
				again := FromError(got, "req-1")
				if st, _ := status.FromError(got); again.Code() != st.Code() || st.Code() == codes.Unknown {
					t.Errorf("code %v, then %v", st.Code(), again.Code())
				}
			}
		})
	}
}

// TestCodes pins the table of the API.
func TestCodes(t *testing.T) {
	want := map[errs.Kind]codes.Code{
		errs.Internal: codes.Internal, errs.Invalid: codes.InvalidArgument, errs.NotFound: codes.NotFound,
		errs.Exists: codes.AlreadyExists, errs.Precondition: codes.FailedPrecondition, errs.Conflict: codes.Aborted,
		errs.Exhausted: codes.ResourceExhausted, errs.Unavailable: codes.Unavailable,
		errs.Denied: codes.PermissionDenied, errs.Corrupt: codes.DataLoss,
	}
	for _, kind := range errs.Kinds() {
		if got := FromError(errs.New(kind, "R", "m"), "").Code(); got != want[kind] {
			t.Errorf("%v: %v, want %v", kind, got, want[kind])
		}
	}
	for _, reason := range []string{ReasonUnauthenticated, "ROLE_NEEDED"} {
		sent := FromError(errs.New(errs.Denied, reason, "m"), "")
		if is := sent.Code() == codes.Unauthenticated; is != (reason == ReasonUnauthenticated) {
			t.Errorf("%s: %v", reason, sent.Code())
		}
		if got := ToError(sent.Err()); !errs.Is(got, errs.Denied) || errs.As(got).Reason != reason {
			t.Errorf("%s came back as %v", reason, got)
		}
	}
}

func TestDetails(t *testing.T) {
	find := func(err error, match func(any) bool) bool {
		for _, d := range FromError(err, "r").Details() {
			if match(d) {
				return true
			}
		}
		return false
	}
	if !find(errs.Fieldf("name", "must be short"), func(d any) bool {
		bad, ok := d.(*errdetails.BadRequest)
		return ok && bad.FieldViolations[0].Field == "name" && bad.FieldViolations[0].Description == "must be short"
	}) {
		t.Error("no BadRequest for a field")
	}
	if !find(errs.New(errs.Precondition, "PROTECTED", "m"), func(d any) bool {
		pre, ok := d.(*errdetails.PreconditionFailure)
		return ok && pre.Violations[0].Type == "PROTECTED" && pre.Violations[0].Description == "m"
	}) {
		t.Error("no PreconditionFailure")
	}
	if !find(errs.New(errs.Exhausted, "POOL_FULL", "m"), func(d any) bool {
		quota, ok := d.(*errdetails.QuotaFailure)
		return ok && quota.Violations[0].Subject == "POOL_FULL"
	}) {
		t.Error("no QuotaFailure")
	}
}

func TestManyFields(t *testing.T) {
	sent := errs.New(errs.Invalid, "INVALID_FIELD", "%w", Fields{
		{Field: "name", Description: "too long"}, {Field: "golden", Description: "empty"}})
	sent.Field = "name"
	got := ToError(FromError(sent, "r").Err())
	var fields Fields
	if !errors.As(got, &fields) || len(fields) != 2 || fields[1].Field != "golden" {
		t.Fatalf("got %v, fields %v", got, fields)
	}
	if got.Error() != "name: too long; golden: empty" || errs.As(got).Field != "name" {
		t.Errorf("got %q, field %q", got, errs.As(got).Field)
	}
}

// TestBytes: what a database says need not be UTF-8, nor short.
func TestBytes(t *testing.T) {
	lines := make([]string, 5000)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d \xff", i)
	}
	got := errs.As(ToError(FromError(errs.New(errs.Corrupt, "R", "bad \xfe byte").WithLog(lines), "r").Err()))
	if got.Kind != errs.Corrupt || got.Message != "bad ? byte" {
		t.Fatalf("got %+v", got)
	}
	if last := got.Log[len(got.Log)-1]; last != "line 4999 ?" || len(strings.Join(got.Log, "\n")) > 2*maxLogBytes {
		t.Errorf("%d lines, the last %q", len(got.Log), last)
	}
	if !strings.HasPrefix(got.Log[0], "line ") {
		t.Errorf("the first line is a part of one: %q", got.Log[0])
	}
}

func TestUnclassified(t *testing.T) {
	if FromError(nil, "") != nil || ToError(nil) != nil {
		t.Error("nil does not stay nil")
	}
	if ToError(io.EOF) != io.EOF {
		t.Error("io.EOF does not stay io.EOF")
	}
	secret := FromError(errors.New("secret detail"), "r")
	if secret.Code() != codes.Internal || strings.Contains(secret.Message(), "secret") {
		t.Errorf("got %v", secret)
	}
	for _, c := range []struct {
		err    error
		reason string
	}{{context.Canceled, ReasonCanceled}, {context.DeadlineExceeded, ReasonDeadline}} {
		got := ToError(FromError(fmt.Errorf("waiting: %w", c.err), "r").Err())
		if !errors.Is(got, c.err) || errs.As(got).Reason != c.reason {
			t.Errorf("%v became %+v", c.err, errs.As(got))
		}
	}
}

func TestForeignStatus(t *testing.T) {
	for code, want := range map[codes.Code]struct {
		kind      errs.Kind
		reason    string
		retryable bool
	}{
		codes.Unavailable:     {errs.Unavailable, ReasonUnreachable, true},
		codes.Unimplemented:   {errs.Precondition, ReasonUnimplemented, false},
		codes.Unauthenticated: {errs.Denied, ReasonUnauthenticated, false},
		codes.OutOfRange:      {errs.Invalid, "INVALID", false},
		codes.Unknown:         {errs.Internal, "INTERNAL", false},
	} {
		got := errs.As(ToError(status.Error(code, "text")))
		if got.Kind != want.kind || got.Reason != want.reason || got.Retryable != want.retryable || got.Error() != "text" {
			t.Errorf("%v: got %+v", code, got)
		}
	}
	if st := FromError(status.Error(codes.ResourceExhausted, "message too large"), "r"); st.Code() != codes.ResourceExhausted {
		t.Errorf("a status of the library became %v", st)
	}
}
