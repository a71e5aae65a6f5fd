package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/cloned-db/cloned/daemon/audit"
	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/daemon/control"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// alive: a client that vanished without closing its connection is noticed within
// the sum of both, so that it holds no clone for longer, and no watch or log is
// kept for it.
var alive = keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}

// alivePing is how often a client may ask us the same.
const alivePing = 10 * time.Second

// maxHeader bounds what is read of a request before it is known who makes it.
const maxHeader = 32 << 10

// maxHandshake bounds how long a connection may take to become one.
const maxHandshake = 10 * time.Second

// server is the API on the listeners.
type server struct {
	grpc   *grpc.Server
	health *health.Server
	audit  *audit.Log
	// stop ends the streams.
	stop context.CancelFunc
}

// newServer makes a server without services but those of gRPC itself.
func newServer(log *slog.Logger, calls gate, transport auth.Transport, asks keepalive.ServerParameters) (*server, error) {
	validate, err := protovalidate.New()
	if err != nil {
		return nil, err
	}
	stopping, stop := context.WithCancel(context.Background())
	around := &rpc{log: log, gate: calls, validate: validate, stopping: stopping}
	s := &server{
		grpc: grpc.NewServer(
			grpc.Creds(transport),
			grpc.ConnectionTimeout(maxHandshake),
			grpc.MaxHeaderListSize(maxHeader),
			grpc.UnaryInterceptor(around.unary),
			grpc.StreamInterceptor(around.stream),
			grpc.WaitForHandlers(true), // nothing of a call happens after its server has stopped
			grpc.KeepaliveParams(asks),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: alivePing, PermitWithoutStream: true}),
		),
		health: health.NewServer(),
		audit:  calls.audit,
		stop:   stop,
	}
	healthv1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	return s, nil
}

// register offers the plane, its health, and tokens for it.
func (s *server) register(plane *control.Plane, check func(context.Context) control.Health, tokens *auth.Tokens, log *slog.Logger) {
	clonedv1.RegisterCloneServiceServer(s.grpc, &cloneService{plane: plane, log: log})
	clonedv1.RegisterGoldenServiceServer(s.grpc, &goldenService{plane: plane})
	clonedv1.RegisterHostServiceServer(s.grpc, &hostService{plane: plane, check: check})
	clonedv1.RegisterAccessServiceServer(s.grpc, &accessService{tokens: tokens})
	clonedv1.RegisterAuditServiceServer(s.grpc, &auditService{log: s.audit})
}

// serve serves a listener until shutdown.
func (s *server) serve(l net.Listener) error {
	if err := s.grpc.Serve(l); !errors.Is(err, grpc.ErrServerStopped) { // stopped before it began
		return err
	}
	return nil
}

// shutdown refuses new calls, ends streams, and lets other calls finish until
// ctx ends; then it breaks them off.
func (s *server) shutdown(ctx context.Context) {
	s.health.Shutdown()
	s.stop()
	defer context.AfterFunc(ctx, s.grpc.Stop)()
	s.grpc.GracefulStop()
}
