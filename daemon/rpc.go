package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/cloned-db/cloned/daemon/audit"
	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/errs/grpcstatus"
)

// requestIDKey is the metadata key that a request's ID travels by, both ways.
const requestIDKey = "x-request-id"

// gate is what calls have to pass: who makes them, how much that one may have, and
// where they are written down.
type gate struct {
	auth   *auth.Authenticator
	limits *limits
	audit  *audit.Log
}

// rpc is what surrounds each call of the API: it gives the request its ID, finds
// out who the caller is and sees to it that it may make the call, validates its
// message, survives a handler's panic, logs and audits the outcome, and turns
// errors into statuses.
type rpc struct {
	log *slog.Logger
	gate
	validate protovalidate.Validator
	// stopping ends when the daemon stops: streams end with it, unary calls
	// are let finish.
	stopping context.Context
}

// errStopping is what a stream ends with when the daemon stops.
func errStopping() error {
	return errs.New(errs.Unavailable, "STOPPING", "the daemon is stopping").WithHint("connect again when it is back")
}

func (r *rpc) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	s := &seen{request: req}
	err = r.call(ctx, info.FullMethod, s, func(header metadata.MD) error { return grpc.SetHeader(ctx, header) },
		func(ctx context.Context) error {
			if err := r.check(req); err != nil {
				return err
			}
			resp, err = handler(ctx, req)
			s.look(resp)
			return err
		})
	if err != nil {
		return nil, err // never a response beside an error
	}
	return resp, nil
}

func (r *rpc) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	s := &seen{}
	return r.call(stream.Context(), info.FullMethod, s, stream.SetHeader, func(ctx context.Context) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(r.stopping, func() { cancel(errStopping()) })()
		if p, ok := auth.From(ctx); ok && p.Proof != nil {
			defer context.AfterFunc(p.Proof, func() { cancel(errProofEnded(p)) })()
		}
		err := handler(srv, &serverStream{ServerStream: stream, ctx: ctx, check: r.check, seen: s})
		if isContext(err) && ctx.Err() != nil {
			return context.Cause(ctx) // which says more
		}
		return err
	})
}

// errProofEnded is what a stream ends with whose caller may no longer call.
func errProofEnded(p auth.Principal) error {
	return auth.Unauthenticated("%s was deleted or has expired", p.Name).WithHint("ask the daemon's operator for another token")
}

// serverStream is a stream with our context, whose messages are validated.
type serverStream struct {
	grpc.ServerStream
	ctx   context.Context
	check func(msg any) error
	seen  *seen
}

func (s *serverStream) Context() context.Context { return s.ctx }

func (s *serverStream) RecvMsg(msg any) error {
	if err := s.ServerStream.RecvMsg(msg); err != nil {
		return err
	}
	s.seen.request = msg
	return s.check(msg)
}

func (r *rpc) call(ctx context.Context, method string, s *seen, setHeader func(metadata.MD) error, handle func(context.Context) error) error {
	begin := time.Now()
	id := requestID(ctx)
	ctx = control.WithRequestID(ctx, id)
	err := setHeader(metadata.Pairs(requestIDKey, id))
	if err == nil {
		ctx, err = r.admit(ctx, method)
	}
	if err == nil && !reads(method) {
		err = r.audit.Ready()
	}
	if err == nil {
		err = survive(func() error { return handle(ctx) })
	}
	st := grpcstatus.FromError(err, id)
	r.logCall(ctx, method, time.Since(begin), st.Code(), err)
	r.audited(ctx, method, begin, s, st)
	return st.Err()
}

// admit returns the context of a call whose caller may make it. A caller who
// shows a token that is no good gets no further, whatever it calls.
func (r *rpc) admit(ctx context.Context, method string) (context.Context, error) {
	need, err := needs(method)
	if err != nil {
		return ctx, err
	}
	who, ok := auth.PeerOf(ctx)
	if !ok {
		return ctx, auth.Unauthenticated("the connection's other end is unknown")
	}
	bearer, err := auth.Bearer(ctx)
	if err != nil || need == auth.NoRole && bearer == "" {
		return ctx, err
	}
	p, err := r.auth.Authenticate(ctx, who, bearer)
	if err != nil {
		return ctx, err
	}
	p = r.limits.of(p)
	err = permit(p, method, need)
	if err == nil && !reads(method) {
		err = r.limits.allow(p)
	}
	return auth.With(ctx, p), err
}

// survive makes a handler's panic an error that carries the stack: one bad
// request must not end the daemon for everybody.
func survive(handle func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errs.New(errs.Internal, "PANIC", "panic: %v\n%s", p, debug.Stack())
		}
	}()
	return handle()
}

// logCall writes the one line that a call leaves in the log.
func (r *rpc) logCall(ctx context.Context, method string, took time.Duration, code codes.Code, err error) {
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("method", method),
		slog.String("code", code.String()),
		slog.Duration("took", took),
		slog.String("request", control.RequestID(ctx)),
	}
	if p, ok := auth.From(ctx); ok {
		attrs = append(attrs, slog.String("principal", p.Name))
	}
	if who, ok := auth.PeerOf(ctx); ok {
		attrs = append(attrs, slog.Any("peer", who))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	switch {
	case code == codes.Internal || code == codes.DataLoss:
		level = slog.LevelError
	case reads(method):
		level = slog.LevelDebug
	}
	r.log.LogAttrs(ctx, level, "call", attrs...)
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// reads says that a method changes nothing.
func reads(method string) bool {
	_, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	for _, verb := range []string{"Get", "List", "Watch", "Check", "WhoAmI", "ServerReflectionInfo"} {
		if strings.HasPrefix(name, verb) {
			return true
		}
	}
	return false
}

var requestIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// requestID returns the ID that the caller gave, or a new one if it gave none
// that is fit for a log.
func requestID(ctx context.Context) string {
	if given := metadata.ValueFromIncomingContext(ctx, requestIDKey); len(given) == 1 && requestIDPattern.MatchString(given[0]) {
		return given[0]
	}
	return strings.ToLower(rand.Text()[:16])
}

// check validates a message by the rules declared in its proto file.
func (r *rpc) check(msg any) error {
	message, ok := msg.(proto.Message)
	if !ok {
		return fmt.Errorf("a %T is no protobuf message", msg)
	}
	err := r.validate.Validate(message)
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) {
		return err
	}
	var fields grpcstatus.Fields
	for _, v := range invalid.Violations {
		fields = append(fields, &errdetails.BadRequest_FieldViolation{
			Field:       protovalidate.FieldPathString(v.Proto.GetField()),
			Description: v.Proto.GetMessage(),
			Reason:      v.Proto.GetRuleId(),
		})
	}
	e := errs.New(errs.Invalid, "INVALID_FIELD", "%w", fields)
	e.Field = fields[0].GetField()
	return e
}
