package grpcstatus

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloned-db/cloned/errs"
)

// Reasons of errors that come from the connection, not from the daemon.
const (
	// ReasonUnreachable: no daemon answers.
	ReasonUnreachable = "DAEMON_UNREACHABLE"
	// ReasonCanceled: the caller's context was cancelled.
	ReasonCanceled = "CANCELED"
	// ReasonDeadline: the caller's time was up.
	ReasonDeadline = "DEADLINE_EXCEEDED"
	// ReasonUnimplemented: the daemon does not know the method.
	ReasonUnimplemented = "UNIMPLEMENTED"
)

// ReasonUnauthenticated is that of an errs.Denied for which the daemon does not
// know who asks: its code is UNAUTHENTICATED, others' PERMISSION_DENIED.
const ReasonUnauthenticated = "UNAUTHENTICATED"

// kindOfCode is for statuses without our ErrorInfo.
var kindOfCode = map[codes.Code]errs.Kind{
	codes.InvalidArgument:    errs.Invalid,
	codes.OutOfRange:         errs.Invalid,
	codes.NotFound:           errs.NotFound,
	codes.AlreadyExists:      errs.Exists,
	codes.FailedPrecondition: errs.Precondition,
	codes.Unimplemented:      errs.Precondition,
	codes.Aborted:            errs.Conflict,
	codes.ResourceExhausted:  errs.Exhausted,
	codes.Unavailable:        errs.Unavailable,
	codes.Canceled:           errs.Unavailable,
	codes.DeadlineExceeded:   errs.Unavailable,
	codes.PermissionDenied:   errs.Denied,
	codes.Unauthenticated:    errs.Denied,
	codes.DataLoss:           errs.Corrupt,
}

// wire is the cause of every error from ToError: it says what the status's
// message says, and leads errors.As and status.FromError to the status.
type wire struct {
	status *status.Status
	cause  error
}

func (w *wire) Error() string              { return w.status.Message() }
func (w *wire) GRPCStatus() *status.Status { return w.status }
func (w *wire) Unwrap() error              { return w.cause }

// ToError returns the *errs.Error that the status error err carries; nil and
// io.EOF (the end of a stream) stay as they are. Errors of the caller's own
// context are errs.Unavailable and wrap context.Canceled or
// context.DeadlineExceeded.
func ToError(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	var already *errs.Error
	if errors.As(err, &already) {
		return err
	}
	st := status.Convert(err)
	w := &wire{status: st}
	info := errorInfo(st)
	if info == nil {
		return foreign(w)
	}
	e := errs.New(kind(info.GetMetadata()[keyKind]), info.GetReason(), "%w", w)
	meta := info.GetMetadata()
	e.Hint, e.Field, e.Phase = meta[keyHint], meta[keyField], meta[keyPhase]
	e.Retryable, _ = strconv.ParseBool(meta[keyRetryable]) // unreadable: not known to be retryable
	if log := meta[keyLog]; log != "" {
		e.Log = strings.Split(log, "\n")
	}
	if fields := fields(st); len(fields) > 1 {
		w.cause = fields
	}
	return e
}

// RequestID returns the ID under which the daemon's log has the request that
// ended with err, or "".
func RequestID(err error) string {
	var w *wire
	if !errors.As(err, &w) {
		return ""
	}
	return errorInfo(w.status).GetMetadata()[keyRequestID]
}

// foreign is the error of a status that cloned did not make.
func foreign(w *wire) *errs.Error {
	code := w.status.Code()
	reason := strings.ToUpper(kindOfCode[code].String())
	switch code {
	case codes.Unavailable:
		reason = ReasonUnreachable
	case codes.Canceled:
		reason, w.cause = ReasonCanceled, context.Canceled
	case codes.DeadlineExceeded:
		reason, w.cause = ReasonDeadline, context.DeadlineExceeded
	case codes.Unimplemented:
		reason = ReasonUnimplemented
	case codes.Unauthenticated:
		reason = ReasonUnauthenticated
	}
	e := errs.New(kindOfCode[code], reason, "%w", w)
	e.Retryable = code == codes.Unavailable || code == codes.Aborted || code == codes.DeadlineExceeded
	if code == codes.Unimplemented {
		e.Hint = "the daemon is older than this client: upgrade it"
	}
	return e
}

func errorInfo(st *status.Status) *errdetails.ErrorInfo {
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == Domain {
			return info
		}
	}
	return nil
}

func fields(st *status.Status) Fields {
	for _, detail := range st.Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			return bad.GetFieldViolations()
		}
	}
	return nil
}

func kind(name string) errs.Kind {
	for _, k := range errs.Kinds() {
		if k.String() == name {
			return k
		}
	}
	return errs.Internal
}
