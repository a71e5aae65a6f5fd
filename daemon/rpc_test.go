package daemon

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/daemon/audit"
	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/errs/grpcstatus"
	"github.com/cloned-db/cloned/internal/address"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// fakeClones answers by the name that is asked for.
type fakeClones struct {
	clonedv1.UnimplementedCloneServiceServer
	seen     func(ctx context.Context)
	watching chan struct{} // closed when a watch or a slow call has begun
	release  chan struct{} // lets a slow call finish
}

func (f *fakeClones) GetClone(ctx context.Context, req *clonedv1.GetCloneRequest) (*clonedv1.GetCloneResponse, error) {
	if f.seen != nil {
		f.seen(ctx)
	}
	switch req.GetName() {
	case "panics":
		panic("at the disco")
	case "fails":
		return nil, errors.New("secret detail")
	case "missing":
		return nil, errs.New(errs.NotFound, "CLONE_NOT_FOUND", "no clone %q", req.GetName()).WithHint("look").WithPhase("admit")
	}
	return &clonedv1.GetCloneResponse{Clone: &clonedv1.Clone{Name: req.GetName()}}, nil
}

func (f *fakeClones) SuspendClone(ctx context.Context, req *clonedv1.SuspendCloneRequest) (*clonedv1.SuspendCloneResponse, error) {
	if req.GetName() == "slow" {
		close(f.watching)
		select {
		case <-f.release:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return &clonedv1.SuspendCloneResponse{}, nil
}

func (f *fakeClones) WatchClones(_ *clonedv1.WatchClonesRequest, stream grpc.ServerStreamingServer[clonedv1.WatchClonesResponse]) error {
	close(f.watching)
	<-stream.Context().Done()
	return stream.Context().Err()
}

// logBuffer is a log that a test reads while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// logger writes everything.
func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *logBuffer) lines(containing string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, containing) {
			found = append(found, line)
		}
	}
	return found
}

// own lets in this user and root, and nobody else.
func own() *auth.Authenticator {
	return &auth.Authenticator{Local: auth.Local{Own: uint32(os.Geteuid())}}
}

// ownRights are those of a socket for nobody else.
var ownRights = socketRights{mode: 0o600, group: noGroup}

func startServer(t *testing.T, clones clonedv1.CloneServiceServer, who *auth.Authenticator) (*server, address.Address, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	s, addr := serveOn(t, log, who, func(s *server) {
		clonedv1.RegisterCloneServiceServer(s.grpc, clones)
		clonedv1.RegisterAuditServiceServer(s.grpc, &auditService{log: s.audit})
	})
	return s, addr, log
}

// openGate is one without limits, whose audit log is under the directory.
func openGate(t testing.TB, who *auth.Authenticator, dir string) gate {
	t.Helper()
	auditLog, err := audit.Open(filepath.Join(dir, dirAudit), 1<<20, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { auditLog.Close() })
	return gate{who, newLimits(LimitsConfig{}), auditLog}
}

// serveOn serves what register offers on a socket.
func serveOn(t testing.TB, log *logBuffer, who *auth.Authenticator, register func(*server)) (*server, address.Address) {
	t.Helper()
	return serveAsking(t, log, who, alive, register)
}

// serveAsking is serveOn by a server that asks so whether its clients live.
func serveAsking(t testing.TB, log *logBuffer, who *auth.Authenticator, asks keepalive.ServerParameters, register func(*server)) (*server, address.Address) {
	t.Helper()
	dir := t.TempDir()
	s, err := newServer(log.logger(), openGate(t, who, dir), auth.Transport{}, asks)
	if err != nil {
		t.Fatal(err)
	}
	register(s)
	addr := address.Address{Network: "unix", Addr: filepath.Join(dir, "s")}
	l, err := listen(t.Context(), addr, ownRights)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.grpc.Serve(l) }()
	t.Cleanup(func() {
		s.grpc.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s, addr
}

func dial(t *testing.T, addr address.Address, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), addr.String(), opts...)
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

func TestErrorsReachTheClient(t *testing.T) {
	_, addr, log := startServer(t, &fakeClones{}, own())
	c := dial(t, addr)

	_, err := c.Clones.GetClone(t.Context(), &clonedv1.GetCloneRequest{Name: "missing"})
	e := errs.As(err)
	if e.Kind != errs.NotFound || e.Reason != "CLONE_NOT_FOUND" || e.Hint != "look" || e.Phase != "admit" || e.Error() != `no clone "missing"` {
		t.Errorf("got %+v", e)
	}

	for _, name := range []string{"panics", "fails"} {
		_, err := c.Clones.GetClone(t.Context(), &clonedv1.GetCloneRequest{Name: name})
		id := client.RequestID(err)
		if !errs.Is(err, errs.Internal) || id == "" || !strings.Contains(err.Error(), id) {
			t.Errorf("%s: %v, request ID %q", name, err, id)
		}
		if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "disco") {
			t.Errorf("%s: the detail went to the client: %v", name, err)
		}
		lines := log.lines(id)
		if len(lines) != 1 || !strings.Contains(lines[0], "level=ERROR") || !strings.Contains(lines[0], "secret") && !strings.Contains(lines[0], "disco") {
			t.Errorf("%s: the log says %q", name, lines)
		}
	}
	if _, err := c.Clones.GetClone(t.Context(), &clonedv1.GetCloneRequest{Name: "fine"}); err != nil {
		t.Errorf("after a panic: %v", err)
	}
}

func TestInvalidRequests(t *testing.T) {
	_, addr, _ := startServer(t, &fakeClones{}, own())
	c := dial(t, addr)

	for _, name := range []string{"", strings.Repeat("x", 64), "a/b", "..", "a@b", "a b", "Main", "zürich", "a;rm", "-a", "a-"} {
		_, err := c.Clones.CreateClone(t.Context(), &clonedv1.CreateCloneRequest{Name: name, Golden: "shop"})
		if e := errs.As(err); !errs.Is(err, errs.Invalid) || e.Field != "name" || !strings.HasPrefix(e.Message, "name: ") {
			t.Errorf("%q: %v, field %q", name, err, errs.As(err).Field)
		}
	}
	_, err := c.Clones.CreateClone(t.Context(), &clonedv1.CreateCloneRequest{Name: "A", Golden: "B"})
	var fields grpcstatus.Fields
	if !errors.As(err, &fields) || len(fields) != 2 || fields[1].GetField() != "golden" {
		t.Errorf("two fields at fault: %v, fields %v", err, fields)
	}
	stream, err := c.Clones.GetCloneLogs(t.Context(), &clonedv1.GetCloneLogsRequest{Name: "x", Tail: -1})
	if err == nil {
		_, err = stream.Recv()
	}
	if !errs.Is(err, errs.Invalid) || errs.As(err).Field != "tail" {
		t.Errorf("a stream's request: %v", err)
	}
}

func TestRequestID(t *testing.T) {
	var inHandler string
	_, addr, log := startServer(t, &fakeClones{seen: func(ctx context.Context) { inHandler = control.RequestID(ctx) }}, own())
	c := dial(t, addr)
	for _, given := range []string{"job-17", "", "with space", strings.Repeat("x", 65), "a\nlevel=ERROR"} {
		ctx := t.Context()
		if given != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, requestIDKey, given)
		}
		var header metadata.MD
		_, err := c.Clones.GetClone(ctx, &clonedv1.GetCloneRequest{Name: "fine"}, grpc.Header(&header))
		if given == "a\nlevel=ERROR" {
			if err == nil {
				t.Error("gRPC sent a header with a line break")
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		told := header.Get(requestIDKey)
		if len(told) != 1 || told[0] != inHandler || !requestIDPattern.MatchString(told[0]) {
			t.Errorf("%q: told %q, the handler had %q", given, told, inHandler)
		}
		if (told[0] == given) != (given == "job-17") {
			t.Errorf("%q became %q", given, told[0])
		}
		if len(log.lines("request="+told[0])) != 1 {
			t.Errorf("%q: %d lines in the log", told[0], len(log.lines(told[0])))
		}
	}
}

func TestLogLevels(t *testing.T) {
	_, addr, log := startServer(t, &fakeClones{}, own())
	c := dial(t, addr)
	if _, err := c.Clones.GetClone(t.Context(), &clonedv1.GetCloneRequest{Name: "fine"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Clones.SuspendClone(t.Context(), &clonedv1.SuspendCloneRequest{Name: "fine"}); err != nil {
		t.Fatal(err)
	}
	for method, level := range map[string]string{"GetClone": "DEBUG", "SuspendClone": "INFO", "Health/Check": "DEBUG"} {
		lines := log.lines(method)
		if len(lines) != 1 || !strings.Contains(lines[0], "level="+level) || !strings.Contains(lines[0], "code=OK") || !strings.Contains(lines[0], "peer.uid=") {
			t.Errorf("%s: %q", method, lines)
		}
	}
}

// TestShutdownEndsStreams: a watch would go on for ever, and hold the daemon.
func TestShutdownEndsStreams(t *testing.T) {
	fake := &fakeClones{watching: make(chan struct{})}
	s, addr, _ := startServer(t, fake, own())
	c := dial(t, addr)
	stream, err := c.Clones.WatchClones(t.Context(), &clonedv1.WatchClonesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	<-fake.watching
	s.shutdown(t.Context()) // which has no end: only the stream's end lets this return
	if _, err := stream.Recv(); errs.As(err).Reason != "STOPPING" || !errs.As(err).Retryable {
		t.Errorf("got %v", err)
	}
}

// TestShutdownLetsCallsFinish, for as long as its context allows.
func TestShutdownLetsCallsFinish(t *testing.T) {
	for _, patient := range []bool{true, false} {
		fake := &fakeClones{watching: make(chan struct{}), release: make(chan struct{})}
		s, addr, _ := startServer(t, fake, own())
		c := dial(t, addr)
		answered := make(chan error, 1)
		go func() {
			_, err := c.Clones.SuspendClone(t.Context(), &clonedv1.SuspendCloneRequest{Name: "slow"})
			answered <- err
		}()
		<-fake.watching
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.shutdown(ctx); close(done) }()
		if patient {
			close(fake.release)
		} else {
			cancel()
		}
		if err := <-answered; (err == nil) != patient {
			t.Errorf("patient %v: %v", patient, err)
		}
		<-done
		cancel()
	}
}

// TestReflection asks the server for its services, as grpcurl does.
func TestReflection(t *testing.T) {
	s, addr, _ := startServer(t, &fakeClones{}, own())
	conn, err := grpc.NewClient(addr.String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
	}); err != nil {
		t.Fatal(err)
	}
	resp, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, service := range resp.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	if len(names) != len(s.grpc.GetServiceInfo()) || !slices.Contains(names, "cloned.v1.CloneService") {
		t.Errorf("got %v", names)
	}
}

func TestServices(t *testing.T) {
	s, err := newServer(slog.New(slog.DiscardHandler), gate{auth: own()}, auth.Transport{}, alive)
	if err != nil {
		t.Fatal(err)
	}
	s.register(nil, nil, nil, nil)
	var names []string
	for name := range s.grpc.GetServiceInfo() {
		names = append(names, name)
	}
	slices.Sort(names)
	want := []string{"cloned.v1.AccessService", "cloned.v1.AuditService", "cloned.v1.CloneService", "cloned.v1.GoldenService", "cloned.v1.HostService",
		"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
	if !slices.Equal(names, want) {
		t.Errorf("got %v", names)
	}
}
