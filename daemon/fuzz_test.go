package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/daemon/control/controltest"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/errs/grpcstatus"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
	"github.com/cloned-db/cloned/state"
)

// FuzzInstallation: whatever the file has in it is the identity of an
// installation, or damaged.
func FuzzInstallation(f *testing.F) {
	f.Add([]byte(`{"instance":"abcd1234","storage":{"name":"dir","place":"/v","reason":"configured"}}`), []byte(strings.Repeat("k", keyBytes)))
	f.Add([]byte(`{"instance":"../../.."}`), []byte{})
	f.Add([]byte(`null`), []byte("short"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, identity, key []byte) {
		for name, content := range map[string][]byte{fileInstallation: identity, fileKey: key} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		inst, err := openInstallation(dir)
		if err != nil {
			if !errs.Is(err, errs.Corrupt) || errs.As(err).Hint == "" {
				t.Errorf("%v", err)
			}
			return
		}
		if !instancePattern.MatchString(inst.Instance) || len(inst.Key) != keyBytes {
			t.Errorf("%q is %+v", identity, inst)
		}
	})
}

// api is a server on the control plane, in a world in memory.
type api struct {
	t       testing.TB
	log     *logBuffer
	world   *controltest.World
	plane   *control.Plane
	conn    *grpc.ClientConn
	methods []protoreflect.MethodDescriptor
}

func newAPI(t testing.TB) *api {
	t.Helper()
	a := &api{t: t, log: &logBuffer{}, world: controltest.NewWorld()}
	log := slog.New(slog.NewTextHandler(a.log, nil))
	store, err := state.Open(filepath.Join(t.TempDir(), "state.db"), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	session := a.world.Session()
	a.plane, err = control.New(control.Config{
		Store: store, Driver: controltest.Driver{Session: session}, Runtime: controltest.Runtime{Session: session},
		Engines: map[string]database.Engine{control.DefaultEngine: controltest.Engine{Session: session}},
		Log:     log, Instance: "test", Addr: "127.0.0.1", PortFirst: 23500, PortLast: 23599, MaxClones: 20,
		Key: make([]byte, keyBytes), ReconcileEvery: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- a.plane.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ran, store.Close()); err != nil {
			t.Error(err)
		}
	})
	who, tokens := own(), auth.NewTokens(store)
	who.Tokens = tokens
	_, addr := serveOn(t, a.log, who, func(s *server) { s.register(a.plane, a.plane.CheckHealth, tokens, log) })
	if a.conn, err = grpc.NewClient(addr.String(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.conn.Close() })
	protoregistry.GlobalFiles.RangeFilesByPackage(clonedv1.File_cloned_v1_cloned_proto.Package(), func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				a.methods = append(a.methods, methods.Get(j))
			}
		}
		return true
	})
	slices.SortFunc(a.methods, func(x, y protoreflect.MethodDescriptor) int {
		return strings.Compare(string(x.FullName()), string(y.FullName()))
	})
	return a
}

// choices makes choices of the bytes of a fuzzer; without any left, the first.
type choices struct{ data []byte }

func (c *choices) n(of int) int {
	if of <= 1 || len(c.data) == 0 {
		return 0
	}
	b := int(c.data[0])
	c.data = c.data[1:]
	return b % of
}

func (c *choices) text() string {
	known := []string{"", "a", "b", "shop", "A b/..\x00", "g-shop", strings.Repeat("x", 64), "\x1b[2J", "/", "-1", "zürich", "'; DROP TABLE x; --", "ttl", "protect", "host=db user=x"}
	if i := c.n(len(known) + 1); i < len(known) {
		return known[i]
	}
	size := min(c.n(256), len(c.data))
	text := strings.ToValidUTF8(string(c.data[:size]), "?") // or it could not be sent
	c.data = c.data[size:]
	return text
}

func (c *choices) number() int64 {
	known := []int64{0, 1, -1, 23505, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64}
	if i := c.n(len(known) + 1); i < len(known) {
		return known[i]
	}
	return int64(c.n(256))
}

func (c *choices) value(f protoreflect.FieldDescriptor, m protoreflect.Value, depth int) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		c.fill(m.Message(), depth+1)
		return m
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(c.text())
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(c.text()))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(c.n(2) == 1)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(c.number()))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64([]float64{0, 1.5, -1, math.NaN(), math.Inf(1), 1e300}[c.n(6)])
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(c.number()))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(c.number())
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(c.number()))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(c.number()))
	default:
		return protoreflect.ValueOfInt32(int32(c.number()))
	}
}

// fill sets some of a message's fields, most of those that name something.
func (c *choices) fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if depth > 4 || c.n(3) == 0 && f.Name() != "name" && f.Name() != "golden" {
			continue
		}
		switch {
		case f.IsMap():
			entries := m.Mutable(f).Map()
			for range c.n(4) {
				key := c.value(f.MapKey(), protoreflect.Value{}, depth).MapKey()
				entries.Set(key, c.value(f.MapValue(), entries.NewValue(), depth))
			}
		case f.IsList():
			list := m.Mutable(f).List()
			for range c.n(4) {
				list.Append(c.value(f, list.NewElement(), depth))
			}
		default:
			m.Set(f, c.value(f, m.NewField(f), depth))
		}
	}
}

// callTime bounds a call: what is not asked to wait ends long before, and a watch
// or a hold by that.
const callTime = 300 * time.Millisecond

// call makes one call, to its end or for a while.
func (a *api) call(t *testing.T, c *choices) {
	t.Helper()
	method := a.methods[c.n(len(a.methods))]
	req, resp := message(t, method.Input()), message(t, method.Output())
	c.fill(req.ProtoReflect(), 0)
	path := "/" + string(method.Parent().FullName()) + "/" + string(method.Name())
	ctx, cancel := context.WithTimeout(t.Context(), callTime)
	defer cancel()
	err := a.stream(ctx, path, method, req, resp)
	code := status.Code(err)
	switch code {
	case codes.Internal, codes.Unknown, codes.DataLoss, codes.Unimplemented:
		t.Errorf("%s of %v: %v", path, req, err)
	case codes.InvalidArgument:
		if e := errs.As(grpcstatus.ToError(err)); e.Field == "" || !strings.Contains(e.Error(), e.Field) {
			t.Errorf("%s of %v: no field is named: %v", path, req, err)
		}
	}
}

// stream makes a call of whatever kind and reads all of its answers.
func (a *api) stream(ctx context.Context, path string, method protoreflect.MethodDescriptor, req, resp proto.Message) error {
	if !method.IsStreamingServer() {
		return a.conn.Invoke(ctx, path, req, resp)
	}
	s, err := a.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, path)
	if err == nil {
		err = errors.Join(s.SendMsg(req), s.CloseSend())
	}
	for err == nil {
		err = s.RecvMsg(resp)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func message(t *testing.T, d protoreflect.MessageDescriptor) proto.Message {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		t.Fatal(err)
	}
	return kind.New().Interface()
}

// clear deletes all there is, and waits until nothing is left.
func (a *api) clear(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		clones, _, err := a.plane.ListClones(t.Context(), control.CloneFilter{}, 0, "")
		if err != nil {
			t.Fatal(err)
		}
		off := false
		for _, c := range clones { // what a call of before still changes is tried again
			_, _ = a.plane.UpdateClone(t.Context(), c.Name, control.CloneUpdate{Protect: &off})
			_ = a.plane.DeleteClone(t.Context(), control.DeleteRequest{Name: c.Name, Now: true, Wait: true})
		}
		goldens := a.plane.ListGoldens(t.Context())
		for _, g := range goldens {
			_ = a.plane.DeleteGolden(t.Context(), g.Name)
		}
		left := a.world.Things()
		if len(clones)+len(goldens)+len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left: %d clones, %d goldens, %q", len(clones), len(goldens), left)
		}
		time.Sleep(time.Millisecond) // an interval of looking
	}
}

// FuzzRPC makes calls with random messages, of every method that the API has.
// Nothing panics or fails by our fault, a request that is not valid is told which
// field is not, and when all is deleted nothing is left.
func FuzzRPC(f *testing.F) {
	a := newAPI(f)
	for i := range a.methods {
		f.Add([]byte{byte(i)})
		f.Add(slices.Repeat([]byte{byte(i), 1, 2, 3, 250, 7}, 30))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		golden, _, err := a.plane.CreateGolden(t.Context(), control.CreateGoldenRequest{Name: "shop", Source: state.GoldenSource{Kind: "directory", Directory: "/shop"}}, nil)
		if err != nil || golden.Name != "shop" {
			t.Fatal(err)
		}
		if _, _, err := a.plane.CreateClone(t.Context(), control.CreateRequest{Name: "a", Golden: "shop", Wait: true}); err != nil {
			t.Fatal(err)
		}
		c := &choices{data: data}
		for range 1 + len(data)/32 {
			a.call(t, c)
		}
		a.clear(t)
		if panics := a.log.lines("PANIC"); len(panics) > 0 {
			t.Errorf("%q", panics)
		}
		if broken := a.world.Broken(); len(broken) > 0 {
			t.Errorf("promises were broken: %q", broken)
		}
	})
}
