package daemon

import (
	"context"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/errs/grpcstatus"
	"github.com/cloned-db/cloned/internal/address"
)

// needed is who may call what, written down a second time: a method that is new,
// or says something else by mistake, is noticed here.
var needed = map[auth.Role]string{
	auth.NoRole: "Health/Check",
	auth.Viewer: "CloneService/GetClone CloneService/ListClones CloneService/GetLineage CloneService/WatchClones " +
		"GoldenService/GetGolden GoldenService/ListGoldens GoldenService/ListSnapshots HostService/GetStatus HostService/GetTree " +
		"HostService/CheckHealth " +
		"AccessService/WhoAmI ServerReflection/ServerReflectionInfo",
	auth.User: "CloneService/CreateClone CloneService/UpdateClone CloneService/ResetClone CloneService/SuspendClone CloneService/ResumeClone " +
		"CloneService/SnapshotClone CloneService/GetChanges CloneService/UndoClone CloneService/HoldClone CloneService/DeleteClone " +
		"CloneService/DeleteClones CloneService/GetCloneLogs GoldenService/DeleteSnapshot",
	auth.Operator: "GoldenService/CreateGolden GoldenService/RefreshGolden GoldenService/DeleteGolden HostService/ListOrphans HostService/SweepOrphans",
	auth.Admin:    "AccessService/CreateToken AccessService/ListTokens AccessService/DeleteToken AuditService/ListAudit HostService/BackupState",
}

// uncallable are methods of gRPC's own services that nobody needs.
var uncallable = []string{"Health/List", "Health/Watch"}

// callers are one of each role, and one who shows no token.
var callers = []auth.Role{auth.NoRole, auth.Viewer, auth.User, auth.Operator, auth.Admin}

// TestEveryMethodAndRole calls each method of each service as each role, over the
// network: who has too low a role gets no further than to hear so.
func TestEveryMethodAndRole(t *testing.T) {
	r := newAccessRig(t)
	r.golden("shop")
	bearers := map[auth.Role]string{}
	for _, role := range callers[1:] {
		bearers[role] = r.token("t-"+role.String(), role)
	}
	r.clone(dial(t, r.addr, client.WithToken(bearers[auth.User])), "a") // so that every watch has something to say
	conn := r.strangersConn()
	methods := 0
	for service, info := range r.server.grpc.GetServiceInfo() {
		for _, m := range info.Methods {
			methods++
			full := "/" + service + "/" + m.Name
			need, callable := neededFor(full)
			if said, err := needs(full); callable && (err != nil || said != need) {
				t.Errorf("%s needs the role %s by its proto (%v), and %s by this test", full, said, err, need)
			} else if !callable && (err == nil || !slices.ContainsFunc(uncallable, func(u string) bool { return strings.HasSuffix(full, "."+u) })) {
				t.Errorf("%s: neither the proto nor this test says who may call it, or not both: %v, %v", full, said, err)
			}
			for _, role := range callers {
				ctx := t.Context()
				if role != auth.NoRole {
					ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+bearers[role])
				}
				err := callEmpty(ctx, conn, full, m)
				reason := ""
				if err != nil {
					reason = errs.As(grpcstatus.ToError(err)).Reason
				}
				want := map[bool]string{true: reasonRole, false: grpcstatus.ReasonUnauthenticated}[role != auth.NoRole]
				if !callable {
					want = "NOT_CALLABLE"
				}
				out := slices.Contains([]string{reasonRole, grpcstatus.ReasonUnauthenticated, "NOT_CALLABLE"}, reason)
				switch allowed := callable && role >= need; {
				case allowed && out:
					t.Errorf("%s is kept out of %s: %v", role, full, err)
				case !allowed && reason != want:
					t.Errorf("%s gets into %s: %v", role, full, err)
				case reason == reasonRole && (!strings.Contains(err.Error(), need.String()) || !strings.Contains(err.Error(), "token:t-"+role.String()) || errs.As(grpcstatus.ToError(err)).Hint == ""):
					t.Errorf("%s is told by %s: %v", role, full, err)
				}
			}
		}
	}
	if methods < 30 {
		t.Errorf("only %d methods", methods)
	}
}

func neededFor(full string) (auth.Role, bool) {
	for role, list := range needed {
		for _, name := range strings.Fields(list) {
			if strings.HasSuffix(full, "."+name) {
				return role, true
			}
		}
	}
	return auth.NoRole, false
}

// strangersConn is a connection that does not tell whose it is.
func (r *accessRig) strangersConn() *grpc.ClientConn {
	r.t.Helper()
	l, err := listen(r.t.Context(), address.Address{Network: "tcp", Addr: "127.0.0.1:0"}, ownRights)
	if err != nil {
		r.t.Fatal(err)
	}
	go r.server.serve(l)
	conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return conn
}

// callEmpty calls a method with an empty message, and of a stream reads no more
// than the first answer.
func callEmpty(ctx context.Context, conn *grpc.ClientConn, full string, m grpc.MethodInfo) error {
	if !m.IsServerStream && !m.IsClientStream {
		return conn.Invoke(ctx, full, &emptypb.Empty{}, &emptypb.Empty{})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: m.IsClientStream}, full)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&emptypb.Empty{}); err != nil {
		return err
	}
	return stream.RecvMsg(&emptypb.Empty{})
}
