package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/errs/grpcstatus"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// fake is a daemon in memory: it keeps clones by name and nothing else.
type fake struct {
	clonedv1.UnimplementedCloneServiceServer
	clonedv1.UnimplementedGoldenServiceServer
	clonedv1.UnimplementedHostServiceServer
	clonedv1.UnimplementedAccessServiceServer
	clonedv1.UnimplementedAuditServiceServer

	mu      sync.Mutex
	clones  map[string]*clonedv1.Clone
	goldens []string
	fail    error  // what creates end with
	url     string // of clones, if they are to be connected to
	updates []*clonedv1.UpdateCloneRequest
	creates []*clonedv1.CreateCloneRequest
	resets  []*clonedv1.ResetCloneRequest
	taken   []*clonedv1.Snapshot // newest first
	dropped []string
	undos   []*clonedv1.UndoCloneRequest
	deletes []*clonedv1.DeleteCloneRequest
	holds   []string
	tokens  []*clonedv1.CreateTokenRequest
	resumes []string
	delay   time.Duration // before a create is answered
	nodes   []*clonedv1.TreeNode
	changes []*clonedv1.RelationChange
	health  *clonedv1.CheckHealthResponse
	orphans []*clonedv1.Orphan
	stays   []*clonedv1.OrphanLeft // what a sweep leaves
	sweeps  [][]string
}

// serve starts a fake daemon and returns it with its address.
func serve(t *testing.T) (*fake, string) {
	t.Helper()
	f := &fake{clones: map[string]*clonedv1.Clone{}, goldens: []string{"shop"}}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		resp, err := h(ctx, req)
		if err != nil {
			return nil, grpcstatus.FromError(err, "req-1").Err()
		}
		return resp, nil
	}))
	clonedv1.RegisterCloneServiceServer(s, f)
	clonedv1.RegisterGoldenServiceServer(s, f)
	clonedv1.RegisterHostServiceServer(s, f)
	clonedv1.RegisterAccessServiceServer(s, f)
	clonedv1.RegisterAuditServiceServer(s, f)
	healthv1.RegisterHealthServer(s, health.NewServer())
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return f, "unix://" + socket
}

// ctl runs clonectl against a fake daemon.
func ctl(t *testing.T, host string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), append([]string{"--host", host}, args...), strings.NewReader(""), &out, &err)
	return out.String(), err.String(), code
}

func (f *fake) put(name string) *clonedv1.Clone {
	c := &clonedv1.Clone{
		Id: "id" + name, Name: name, Golden: "shop", Snapshot: "snap1", Branch: "b/" + name, State: clonedv1.CloneState_CLONE_STATE_READY, Revision: 1,
		CreateTime: timestamppb.New(time.Now().Add(-3 * time.Minute)), Generation: 1,
		Endpoint: &clonedv1.Endpoint{Address: "127.0.0.1", Port: 20001, Role: "cloned", Password: "p'w$", Database: "shop", Url: "postgresql://cloned:p%27w$@127.0.0.1:20001/shop"},
	}
	if f.url != "" {
		c.Endpoint.Url = f.url
	}
	f.clones[name] = c
	return c
}

func (f *fake) CreateClone(_ context.Context, req *clonedv1.CreateCloneRequest) (*clonedv1.CreateCloneResponse, error) {
	time.Sleep(f.delay)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, f.fail
	}
	f.creates = append(f.creates, req)
	if c, ok := f.clones[req.Name]; ok {
		return &clonedv1.CreateCloneResponse{Clone: c}, nil
	}
	c := f.put(req.Name)
	c.Labels, c.Golden, c.Owner, c.Branch = req.Labels, req.Golden, req.Owner, req.Branch
	return &clonedv1.CreateCloneResponse{Clone: c, Created: true}, nil
}

func (f *fake) GetClone(_ context.Context, req *clonedv1.GetCloneRequest) (*clonedv1.GetCloneResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c, ok := f.clones[req.Name]; ok {
		return &clonedv1.GetCloneResponse{Clone: c}, nil
	}
	return nil, errs.New(errs.NotFound, "NO_CLONE", "no clone named %s", req.Name)
}

func (f *fake) ListClones(_ context.Context, req *clonedv1.ListClonesRequest) (*clonedv1.ListClonesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := &clonedv1.ListClonesResponse{}
	for _, name := range slices.Sorted(maps.Keys(f.clones)) {
		c, ok := f.clones[name], true
		for k, v := range req.GetFilter().GetLabels() {
			ok = ok && c.Labels[k] == v
		}
		if ok {
			resp.Clones = append(resp.Clones, c)
		}
	}
	return resp, nil
}

func (f *fake) UpdateClone(_ context.Context, req *clonedv1.UpdateCloneRequest) (*clonedv1.UpdateCloneResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.updates = append(f.updates, req)
	c, ok := f.clones[req.Name]
	switch {
	case !ok:
		return nil, errs.New(errs.NotFound, "NO_CLONE", "no clone named %s", req.Name)
	case req.Revision != 0 && req.Revision != c.Revision:
		return nil, errs.New(errs.Conflict, "REVISION", "clone %s has changed", req.Name)
	}
	c = proto.CloneOf(c) // what was returned before stays as it was
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	maps.Copy(c.Labels, req.SetLabels)
	for _, key := range req.RemoveLabels {
		delete(c.Labels, key)
	}
	c.Revision++
	f.clones[req.Name] = c
	return &clonedv1.UpdateCloneResponse{Clone: c}, nil
}

func (f *fake) DeleteClone(_ context.Context, req *clonedv1.DeleteCloneRequest) (*clonedv1.DeleteCloneResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.clones[req.Name]; !ok {
		return nil, errs.New(errs.NotFound, "NO_CLONE", "no clone named %s", req.Name)
	}
	f.deletes = append(f.deletes, req)
	delete(f.clones, req.Name)
	return &clonedv1.DeleteCloneResponse{}, nil
}

func (f *fake) DeleteClones(ctx context.Context, req *clonedv1.DeleteClonesRequest) (*clonedv1.DeleteClonesResponse, error) {
	list, err := f.ListClones(ctx, &clonedv1.ListClonesRequest{Filter: req.Filter})
	if err != nil {
		return nil, err
	}
	resp := &clonedv1.DeleteClonesResponse{}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range list.Clones {
		if c.Protect {
			resp.Protected = append(resp.Protected, c.Name)
			continue
		}
		delete(f.clones, c.Name)
		resp.Deleted = append(resp.Deleted, c.Name)
	}
	return resp, nil
}

func (f *fake) ListGoldens(context.Context, *clonedv1.ListGoldensRequest) (*clonedv1.ListGoldensResponse, error) {
	resp := &clonedv1.ListGoldensResponse{}
	for _, g := range f.goldens {
		resp.Goldens = append(resp.Goldens, &clonedv1.Golden{Name: g})
	}
	return resp, nil
}

func (f *fake) CreateGolden(req *clonedv1.CreateGoldenRequest, stream grpc.ServerStreamingServer[clonedv1.CreateGoldenResponse]) error {
	for i := range 3 {
		err := stream.Send(&clonedv1.CreateGoldenResponse{Event: &clonedv1.CreateGoldenResponse_Progress{
			Progress: &clonedv1.RefreshProgress{Phase: fmt.Sprintf("phase%d", i), DoneBytes: 1 << 20, TotalBytes: 4 << 20},
		}})
		if err != nil {
			return err
		}
	}
	return stream.Send(&clonedv1.CreateGoldenResponse{Event: &clonedv1.CreateGoldenResponse_Golden{
		Golden: &clonedv1.Golden{Name: req.Name, NewestSnapshot: &clonedv1.Snapshot{Id: "snap1", Major: 15, SizeBytes: 1 << 30}},
	}})
}
