package client

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/errs/grpcstatus"
	"github.com/cloned-db/cloned/internal/address"
)

// requestIDKey is the metadata key by which the daemon takes and tells a
// request's ID.
const requestIDKey = "x-request-id"

// WithRequestID returns a context whose requests bear the ID, 1 to 64 of
// letters, digits, ".", "_" and "-", in the daemon's log. Without it the daemon
// gives each request one.
func WithRequestID(ctx context.Context, id string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, requestIDKey, id)
}

// RequestID returns the ID under which the daemon's log has the request that
// ended with err; "" if it did not come so far.
func RequestID(err error) string { return grpcstatus.RequestID(err) }

// dialer connects, and makes errors native: it knows best why there is no
// connection.
type dialer struct {
	target address.Address
	token  func() (string, error) // nil for none
	// last is why the last attempt to connect failed; an empty one if it did not.
	last atomic.Pointer[error]
}

func (d *dialer) dial(ctx context.Context, _ string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, d.target.Transport(), d.target.Addr)
	d.last.Store(&err)
	return conn, err
}

func (d *dialer) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	ctx, err := d.show(ctx)
	if err != nil {
		return err
	}
	return d.native(invoke(ctx, method, req, reply, cc, opts...))
}

func (d *dialer) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	ctx, err := d.show(ctx)
	if err != nil {
		return nil, err
	}
	stream, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, d.native(err)
	}
	return &nativeStream{ClientStream: stream, native: d.native}, nil
}

// nativeStream is a stream with native errors.
type nativeStream struct {
	grpc.ClientStream
	native func(error) error
}

func (s *nativeStream) SendMsg(msg any) error { return s.native(s.ClientStream.SendMsg(msg)) }
func (s *nativeStream) RecvMsg(msg any) error { return s.native(s.ClientStream.RecvMsg(msg)) }

func (s *nativeStream) Header() (metadata.MD, error) {
	header, err := s.ClientStream.Header()
	return header, s.native(err)
}

// native returns the *errs.Error of a call's error.
func (d *dialer) native(err error) error {
	err = grpcstatus.ToError(err)
	if err == nil || errs.As(err).Reason != grpcstatus.ReasonUnreachable {
		return err
	}
	last := d.last.Load()
	if last == nil || *last == nil { // it was connected, and the connection broke
		return errs.New(errs.Unavailable, grpcstatus.ReasonUnreachable, "the connection to the daemon at %s broke: %w", d.target, err).
			WithHint("look whether cloned still runs there, and try again")
	}
	if distrust, ok := d.distrust(*last); ok {
		return distrust
	}
	if errors.Is(*last, fs.ErrPermission) {
		return errs.New(errs.Denied, "SOCKET_NOT_ALLOWED", "you may not open the daemon's socket: %w", *last).
			WithHint("ask the daemon's operator for a role (access in its configuration) or membership in its socket_group, or use sudo")
	}
	return errs.New(errs.Unavailable, grpcstatus.ReasonUnreachable, "no daemon answers at %s: %w", d.target, *last).
		WithHint("start it (systemctl start cloned), or name another address in %s", EnvHost)
}
