package client

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/errs/grpcstatus"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// fakeDaemon plays a scene: each call of a method takes the method's next act.
type fakeDaemon struct {
	clonedv1.UnimplementedCloneServiceServer
	mu     sync.Mutex
	create []func() (*clonedv1.CreateCloneResponse, error)
	get    []func() (*clonedv1.Clone, error)
	watch  []func(after uint64, send func(*clonedv1.Clone) error) error
	ids    []string
}

// next takes the first of the acts; the last stays.
func next[T any](f *fakeDaemon, acts *[]T) T {
	f.mu.Lock()
	defer f.mu.Unlock()
	act := (*acts)[0]
	if len(*acts) > 1 {
		*acts = (*acts)[1:]
	}
	return act
}

func (f *fakeDaemon) CreateClone(ctx context.Context, req *clonedv1.CreateCloneRequest) (*clonedv1.CreateCloneResponse, error) {
	f.ids = append(f.ids, metadata.ValueFromIncomingContext(ctx, requestIDKey)...)
	if req.GetNoWait() {
		return nil, toStatus(errs.Fieldf("no_wait", "must not be sent"))
	}
	resp, err := next(f, &f.create)()
	return resp, toStatus(err)
}

func (f *fakeDaemon) GetClone(context.Context, *clonedv1.GetCloneRequest) (*clonedv1.GetCloneResponse, error) {
	c, err := next(f, &f.get)()
	return &clonedv1.GetCloneResponse{Clone: c}, toStatus(err)
}

func (f *fakeDaemon) WatchClones(req *clonedv1.WatchClonesRequest, stream grpc.ServerStreamingServer[clonedv1.WatchClonesResponse]) error {
	return toStatus(next(f, &f.watch)(req.GetAfterRevision(), func(c *clonedv1.Clone) error {
		return stream.Send(&clonedv1.WatchClonesResponse{Clone: c})
	}))
}

func (f *fakeDaemon) GetCloneLogs(_ *clonedv1.GetCloneLogsRequest, stream grpc.ServerStreamingServer[clonedv1.GetCloneLogsResponse]) error {
	for _, part := range []string{"one\n", "two\n"} {
		if err := stream.Send(&clonedv1.GetCloneLogsResponse{Data: []byte(part)}); err != nil {
			return err
		}
	}
	return toStatus(errs.New(errs.Precondition, "NO_INSTANCE", "it ended"))
}

func toStatus(err error) error { return grpcstatus.FromError(err, "req-9").Err() }

// serve starts the fake at a socket, until stop is called or the test ends.
func serve(t *testing.T, f *fakeDaemon, path string, serving healthv1.HealthCheckResponse_ServingStatus) (stop func()) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	clonedv1.RegisterCloneServiceServer(s, f)
	h := health.NewServer()
	h.SetServingStatus("", serving)
	healthv1.RegisterHealthServer(s, h)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	stop = sync.OnceFunc(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func connect(t *testing.T, f *fakeDaemon, opts ...Option) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	serve(t, f, path, healthv1.HealthCheckResponse_SERVING)
	c, err := Dial(t.Context(), "unix://"+path, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func clone(state clonedv1.CloneState, revision uint64) *clonedv1.Clone {
	return &clonedv1.Clone{Id: "i1", Name: "dev", Golden: "shop", State: state, Revision: revision}
}

const (
	creating = clonedv1.CloneState_CLONE_STATE_CREATING
	starting = clonedv1.CloneState_CLONE_STATE_STARTING
	readyNow = clonedv1.CloneState_CLONE_STATE_READY
	failed   = clonedv1.CloneState_CLONE_STATE_FAILED
)

func created(c *clonedv1.Clone, isNew bool) func() (*clonedv1.CreateCloneResponse, error) {
	return func() (*clonedv1.CreateCloneResponse, error) {
		return &clonedv1.CreateCloneResponse{Clone: c, Created: isNew}, nil
	}
}

func createFails(err error) func() (*clonedv1.CreateCloneResponse, error) {
	return func() (*clonedv1.CreateCloneResponse, error) { return nil, err }
}

func is(c *clonedv1.Clone) func() (*clonedv1.Clone, error) {
	return func() (*clonedv1.Clone, error) { return c, nil }
}

var busy = errs.New(errs.Unavailable, "BUSY", "the dataset is busy")

func TestCreateAndWait(t *testing.T) {
	f := &fakeDaemon{create: []func() (*clonedv1.CreateCloneResponse, error){
		createFails(busy), createFails(busy), created(clone(readyNow, 5), true),
	}}
	req := &clonedv1.CreateCloneRequest{Name: "dev", Golden: "shop", NoWait: true}
	got, isNew, err := connect(t, f).CreateAndWait(WithRequestID(t.Context(), "job-1"), req)
	if err != nil || !isNew || got.GetName() != "dev" {
		t.Fatalf("got %v, %v, %v", got, isNew, err)
	}
	if !req.GetNoWait() {
		t.Error("the caller's request was changed")
	}
	if strings.Join(f.ids, " ") != "job-1 job-1 job-1" {
		t.Errorf("request IDs %v", f.ids)
	}
}

// TestCreateFindsOneStarting: it was there already and is not ready.
func TestCreateFindsOneStarting(t *testing.T) {
	f := &fakeDaemon{
		create: []func() (*clonedv1.CreateCloneResponse, error){created(clone(starting, 5), false)},
		get:    []func() (*clonedv1.Clone, error){is(clone(readyNow, 6))},
	}
	got, isNew, err := connect(t, f).CreateAndWait(t.Context(), &clonedv1.CreateCloneRequest{Name: "dev", Golden: "shop"})
	if err != nil || isNew || got.GetState() != readyNow {
		t.Errorf("got %v, %v, %v", got, isNew, err)
	}
}

func TestCreateGivesUp(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		opts []Option
		kind errs.Kind
	}{
		"no retry can help": {errs.New(errs.Exhausted, "POOL_FULL", "full"), nil, errs.Exhausted},
		"time is up":        {busy, []Option{WithRetryFor(0)}, errs.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeDaemon{create: []func() (*clonedv1.CreateCloneResponse, error){createFails(c.err)}}
			_, _, err := connect(t, f, c.opts...).CreateAndWait(t.Context(), &clonedv1.CreateCloneRequest{Name: "dev"})
			if !errs.Is(err, c.kind) || err.Error() != c.err.Error() || RequestID(err) != "req-9" {
				t.Errorf("got %v, request ID %q", err, RequestID(err))
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	f := &fakeDaemon{create: []func() (*clonedv1.CreateCloneResponse, error){
		func() (*clonedv1.CreateCloneResponse, error) { cancel(); return nil, busy },
	}}
	if _, _, err := connect(t, f).CreateAndWait(ctx, &clonedv1.CreateCloneRequest{Name: "dev"}); !errors.Is(err, context.Canceled) && !errs.Is(err, errs.Unavailable) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestWaitState: a change is waited for from the very revision that was read,
// other clones' changes are passed over, and a watch that breaks or does not
// reach so far back is begun anew.
func TestWaitState(t *testing.T) {
	var after []uint64
	other := &clonedv1.Clone{Id: "i2", Name: "other"}
	f := &fakeDaemon{
		get: []func() (*clonedv1.Clone, error){
			is(clone(creating, 3)), is(clone(creating, 4)), is(clone(creating, 4)),
			func() (*clonedv1.Clone, error) { return nil, busy }, is(clone(creating, 4)), is(clone(readyNow, 8)),
		},
		watch: []func(uint64, func(*clonedv1.Clone) error) error{
			func(a uint64, send func(*clonedv1.Clone) error) error {
				after = append(after, a)
				return errors.Join(send(other), send(clone(creating, 4)))
			},
			func(a uint64, _ func(*clonedv1.Clone) error) error {
				after = append(after, a)
				return errs.New(errs.Conflict, "REVISION_EXPIRED", "too old")
			},
			func(a uint64, _ func(*clonedv1.Clone) error) error {
				after = append(after, a)
				return nil // ended
			},
			func(a uint64, send func(*clonedv1.Clone) error) error {
				after = append(after, a)
				return send(clone(readyNow, 8))
			},
		},
	}
	got, err := connect(t, f).WaitState(t.Context(), "dev", readyNow, failed)
	if err != nil || got.GetRevision() != 8 {
		t.Fatalf("got %v, %v", got, err)
	}
	if len(after) != 4 || after[0] != 3 || after[3] != 4 {
		t.Errorf("watched after %v", after)
	}
}

func TestWaitStateEnds(t *testing.T) {
	f := &fakeDaemon{get: []func() (*clonedv1.Clone, error){is(&clonedv1.Clone{State: failed, Message: "its volume has vanished"})}}
	if _, err := connect(t, f).WaitState(t.Context(), "dev", readyNow); errs.As(err).Reason != "CLONE_FAILED" || !strings.Contains(err.Error(), "vanished") {
		t.Errorf("a failed clone: %v", err)
	}
	f = &fakeDaemon{get: []func() (*clonedv1.Clone, error){func() (*clonedv1.Clone, error) {
		return nil, errs.New(errs.NotFound, "CLONE_NOT_FOUND", "no clone")
	}}}
	if _, err := connect(t, f).WaitState(t.Context(), "dev", readyNow); !errs.Is(err, errs.NotFound) {
		t.Errorf("no clone: %v", err)
	}
	f = &fakeDaemon{
		get:   []func() (*clonedv1.Clone, error){is(clone(creating, 1))},
		watch: []func(uint64, func(*clonedv1.Clone) error) error{func(uint64, func(*clonedv1.Clone) error) error { select {} }},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := connect(t, f).WaitState(ctx, "dev", readyNow); !errors.Is(err, context.DeadlineExceeded) || !errs.Is(err, errs.Unavailable) {
		t.Errorf("time is up: %v", err)
	}
}

func TestLogs(t *testing.T) {
	var out bytes.Buffer
	err := connect(t, &fakeDaemon{}).Logs(t.Context(), "dev", 0, false, &out)
	if out.String() != "one\ntwo\n" || errs.As(err).Reason != "NO_INSTANCE" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

// TestDaemonGoesAway: the error says so, and the next call finds a new daemon.
func TestDaemonGoesAway(t *testing.T) {
	f := &fakeDaemon{get: []func() (*clonedv1.Clone, error){is(clone(readyNow, 1))}}
	path := filepath.Join(t.TempDir(), "s")
	stop := serve(t, f, path, healthv1.HealthCheckResponse_SERVING)
	c, err := Dial(t.Context(), "unix://"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stop()
	_, err = c.Clones.GetClone(t.Context(), &clonedv1.GetCloneRequest{Name: "dev"})
	if e := errs.As(err); e.Kind != errs.Unavailable || e.Reason != grpcstatus.ReasonUnreachable || !e.Retryable || e.Hint == "" || !strings.Contains(e.Message, path) {
		t.Errorf("got %+v", e)
	}
	serve(t, f, path, healthv1.HealthCheckResponse_SERVING)
	if _, err := c.WaitState(t.Context(), "dev", readyNow); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func TestDialFails(t *testing.T) {
	dir := t.TempDir()
	stopping := filepath.Join(dir, "stopping")
	serve(t, &fakeDaemon{}, stopping, healthv1.HealthCheckResponse_NOT_SERVING)
	for name, c := range map[string]struct {
		target, reason, says string
	}{
		"nobody":   {"unix://" + filepath.Join(dir, "none"), grpcstatus.ReasonUnreachable, "no daemon answers at unix://"},
		"refused":  {"tcp://127.0.0.1:1", grpcstatus.ReasonUnreachable, "connection refused"},
		"stopping": {"unix://" + stopping, ReasonNotServing, "is stopping"},
		"bad":      {"http://x", "INVALID_ADDRESS", "must be unix:///"},
	} {
		if _, err := Dial(t.Context(), c.target); errs.As(err).Reason != c.reason || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v (%s)", name, err, errs.As(err).Reason)
		}
	}
}

func TestTarget(t *testing.T) {
	t.Setenv(EnvHost, "tcp://127.0.0.1:7432")
	t.Setenv("XDG_RUNTIME_DIR", "")
	for given, want := range map[string]string{"": "tcp://127.0.0.1:7432", "unix:///x": "unix:///x"} {
		if got, err := Target(given); got != want || err != nil {
			t.Errorf("%q: %s, %v", given, got, err)
		}
	}
	if err := os.Unsetenv(EnvHost); err != nil {
		t.Fatal(err)
	}
	if got, err := Target(""); got != "unix:///run/cloned/cloned.sock" || err != nil {
		t.Errorf("the default: %s, %v", got, err)
	}
}

func TestStateName(t *testing.T) {
	if got := StateName(readyNow); got != "ready" {
		t.Error(got)
	}
}
