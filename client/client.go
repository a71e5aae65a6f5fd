package client

import (
	"context"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/address"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// EnvHost is the environment variable that names the daemon's address when
// Dial is not given one.
const EnvHost = "CLONED_HOST"

// ReasonNotServing: the daemon answers, and is stopping.
const ReasonNotServing = "NOT_SERVING"

// Client is a connection to one daemon. Its methods, and those of its fields,
// may be called at the same time. All errors are *errs.Error.
type Client struct {
	// Clones, Goldens, Host, Access and Audit are the services of the API.
	Clones  clonedv1.CloneServiceClient
	Goldens clonedv1.GoldenServiceClient
	Host    clonedv1.HostServiceClient
	Access  clonedv1.AccessServiceClient
	Audit   clonedv1.AuditServiceClient

	conn     *grpc.ClientConn
	target   address.Address
	retryFor time.Duration
}

// Option changes how a Client works.
type Option func(*options)

type options struct {
	retryFor time.Duration
	token    func() (string, error) // nil for none
	tls      TLS
	grpc     []grpc.DialOption
}

// DefaultRetryFor is how long the helpers go on trying by default: enough for a
// restart of the daemon.
const DefaultRetryFor = 30 * time.Second

// WithRetryFor sets how long CreateAndWait and WaitState go on trying while the
// daemon does not answer, or says that the same request may succeed later.
func WithRetryFor(d time.Duration) Option { return func(o *options) { o.retryFor = d } }

// WithDialOptions adds options of gRPC's own.
func WithDialOptions(list ...grpc.DialOption) Option {
	return func(o *options) { o.grpc = append(o.grpc, list...) }
}

// Target returns the address that Dial uses for the target: the target itself,
// or if it is empty that in CLONED_HOST, or if that is empty the daemon's
// default: the user's own socket in $XDG_RUNTIME_DIR if there is one, otherwise
// the system's.
func Target(target string) (string, error) {
	addr, err := resolve(target)
	return addr.String(), err
}

func resolve(target string) (address.Address, error) {
	if target == "" {
		target = os.Getenv(EnvHost)
	}
	if target == "" {
		return address.Default(), nil
	}
	return address.Parse(target)
}

// Dial connects to the daemon at the target, unix:///path, tls://host:port or
// tcp://host:port (see Target for an empty one), and returns once it has answered.
//
// Without WithToken or WithTokenFile it shows the daemon the token in CLONED_TOKEN,
// or in the file that CLONED_TOKEN_FILE names, if either is set; otherwise, if
// CLONED_AUDIENCE is, the identity token of the job that it runs in.
//
// errs.Invalid for a bad target, errs.Unavailable if nobody answers, errs.Denied
// if the token is no good, or the daemon can't prove that it is one. Who shows no
// token learns with its first call whether it may make it.
func Dial(ctx context.Context, target string, opts ...Option) (*Client, error) {
	addr, err := resolve(target)
	if err != nil {
		return nil, err
	}
	o := options{retryFor: DefaultRetryFor, token: environmentToken()}
	for _, opt := range opts {
		opt(&o)
	}
	if o.token != nil {
		if err := checkToken(addr); err != nil {
			return nil, err
		}
	}
	d := &dialer{target: addr, token: o.token}
	secure, authority, err := d.credentials(o.tls)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+addr.Addr, append([]grpc.DialOption{
		grpc.WithTransportCredentials(secure),
		// The daemon is on this host or near it: a proxy of the environment is not meant.
		grpc.WithNoProxy(),
		grpc.WithAuthority(authority),
		grpc.WithContextDialer(d.dial),
		grpc.WithUnaryInterceptor(d.unary),
		grpc.WithStreamInterceptor(d.stream),
		// After a restart of the daemon the next call should reach it soon.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		// The daemon allows a ping every 10 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	}, o.grpc...)...)
	if err != nil {
		return nil, errs.New(errs.Invalid, "DIAL", "connecting to %s: %w", addr, err)
	}
	c := &Client{
		Clones:  clonedv1.NewCloneServiceClient(conn),
		Goldens: clonedv1.NewGoldenServiceClient(conn),
		Host:    clonedv1.NewHostServiceClient(conn),
		Access:  clonedv1.NewAccessServiceClient(conn),
		Audit:   clonedv1.NewAuditServiceClient(conn),
		conn:    conn, target: addr, retryFor: o.retryFor,
	}
	if err := c.ping(ctx); err != nil {
		return nil, closing(err, conn)
	}
	return c, nil
}

// ping asks the daemon whether it serves.
func (c *Client) ping(ctx context.Context) error {
	resp, err := healthv1.NewHealthClient(c.conn).Check(ctx, &healthv1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	if resp.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		return errs.New(errs.Unavailable, ReasonNotServing, "the daemon at %s is stopping", c.target).
			WithHint("try again when it is back")
	}
	return nil
}

// closing closes the connection that err made useless. Closing only fails
// if it was closed before.
func closing(err error, conn *grpc.ClientConn) error {
	if closeErr := conn.Close(); closeErr != nil {
		return errs.New(errs.KindOf(err), errs.As(err).Reason, "%w; closing the connection: %v", err, closeErr)
	}
	return err
}

// Target returns the address that the client is connected to.
func (c *Client) Target() string { return c.target.String() }

// Close ends the connection and all calls on it.
func (c *Client) Close() error { return c.conn.Close() }
