package grpcstatus

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"github.com/cloned-db/cloned/errs"
)

// Domain is that of our ErrorInfo; another one's is not read as ours.
const Domain = "cloned"

// maxLogBytes bounds the log lines sent: a status travels in HTTP/2 trailers,
// for which peers and proxies keep limits (16 MiB in grpc-go, 16 KiB elsewhere).
const maxLogBytes = 6 << 10

// Metadata keys of ErrorInfo.
const (
	keyKind      = "kind"
	keyHint      = "hint"
	keyField     = "field"
	keyPhase     = "phase"
	keyRetryable = "retryable"
	keyLog       = "log"
	keyRequestID = "request_id"
)

var codeOf = map[errs.Kind]codes.Code{
	errs.Internal:     codes.Internal,
	errs.Invalid:      codes.InvalidArgument,
	errs.NotFound:     codes.NotFound,
	errs.Exists:       codes.AlreadyExists,
	errs.Precondition: codes.FailedPrecondition,
	errs.Conflict:     codes.Aborted,
	errs.Exhausted:    codes.ResourceExhausted,
	errs.Unavailable:  codes.Unavailable,
	errs.Denied:       codes.PermissionDenied,
	errs.Corrupt:      codes.DataLoss,
}

// Fields is the cause of an errs.Invalid error with more than one field at
// fault; the error's own Field is the first of them.
type Fields []*errdetails.BadRequest_FieldViolation

// Error lists the fields with what is wrong with each.
func (f Fields) Error() string {
	all := make([]string, len(f))
	for i, v := range f {
		all[i] = v.GetField() + ": " + v.GetDescription()
	}
	return strings.Join(all, "; ")
}

// FromError makes the status of err; nil gives nil. A context's end that
// nobody classified keeps its own code, and an error that already is a status,
// such as those of the gRPC library, stays as it is. What an Internal error
// says is for the log alone: the status names the request ID to look for there.
func FromError(err error, requestID string) *status.Status {
	var known *errs.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
	case errors.Is(err, context.Canceled):
		return status.New(codes.Canceled, "the request was cancelled")
	case errors.Is(err, context.DeadlineExceeded):
		return status.New(codes.DeadlineExceeded, "the request's time was up")
	default:
		if st, ok := status.FromError(err); ok {
			return st
		}
	}
	e := errs.As(err)
	message, hint := err.Error(), e.Hint
	if e.Kind == errs.Internal {
		message = "internal error, request ID " + requestID
		hint = "look for the request ID in the daemon's log"
	}
	code := codeOf[e.Kind]
	if e.Kind == errs.Denied && e.Reason == ReasonUnauthenticated {
		code = codes.Unauthenticated
	}
	st := status.New(code, errs.Plain(message))
	detailed, detailErr := st.WithDetails(details(e, message, hint, requestID)...)
	if detailErr != nil {
		return st
	}
	return detailed
}

func details(e *errs.Error, message, hint, requestID string) []protoadapt.MessageV1 {
	meta := map[string]string{keyKind: e.Kind.String(), keyRetryable: strconv.FormatBool(e.Retryable)}
	for key, value := range map[string]string{
		keyHint: errs.Plain(hint), keyField: errs.Plain(e.Field), keyPhase: e.Phase, keyLog: tail(e.Log), keyRequestID: requestID,
	} {
		if value != "" {
			meta[key] = value
		}
	}
	list := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: e.Reason, Domain: Domain, Metadata: meta}}
	message = errs.Plain(message)
	switch e.Kind {
	case errs.Invalid:
		if violations := violations(e, message); len(violations) > 0 {
			list = append(list, &errdetails.BadRequest{FieldViolations: violations})
		}
	case errs.Precondition:
		list = append(list, &errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{
			{Type: e.Reason, Description: message}}})
	case errs.Exhausted:
		list = append(list, &errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{
			{Subject: e.Reason, Description: message}}})
	}
	return list
}

func violations(e *errs.Error, message string) Fields {
	var many Fields
	if errors.As(e, &many) {
		return many
	}
	if e.Field == "" {
		return nil
	}
	return Fields{{Field: e.Field, Description: strings.TrimPrefix(message, e.Field+": "), Reason: e.Reason}}
}

// tail joins the last lines that fit.
func tail(lines []string) string {
	var fit []string
	for size, at := 0, len(lines)-1; at >= 0; at-- {
		line := errs.Plain(lines[at])
		if size += len(line) + 1; size > maxLogBytes {
			break
		}
		fit = append(fit, line)
	}
	slices.Reverse(fit)
	return strings.Join(fit, "\n")
}
