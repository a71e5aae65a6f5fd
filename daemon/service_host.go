package daemon

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cloned-db/cloned/daemon/control"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// hostService is the API's HostService on the control plane.
type hostService struct {
	clonedv1.UnimplementedHostServiceServer
	plane *control.Plane
	// check is the plane's CheckHealth and what else there is to look at.
	check func(context.Context) control.Health
}

func (s *hostService) GetStatus(ctx context.Context, _ *clonedv1.GetStatusRequest) (*clonedv1.GetStatusResponse, error) {
	return statusToProto(s.plane.Status(ctx)), nil
}

func (s *hostService) GetTree(ctx context.Context, req *clonedv1.GetTreeRequest) (*clonedv1.GetTreeResponse, error) {
	nodes, err := s.plane.Tree(ctx, req.GetUsage())
	if err != nil {
		return nil, err
	}
	resp := &clonedv1.GetTreeResponse{}
	for _, n := range nodes {
		resp.Nodes = append(resp.Nodes, nodeToProto(n))
	}
	return resp, nil
}

func (s *hostService) CheckHealth(ctx context.Context, _ *clonedv1.CheckHealthRequest) (*clonedv1.CheckHealthResponse, error) {
	began := time.Now()
	h := s.check(ctx)
	resp := &clonedv1.CheckHealthResponse{Checks: h.Checks}
	for _, f := range h.Findings {
		severity := clonedv1.Finding_SEVERITY_WARNING
		if f.Severity == control.Fault {
			severity = clonedv1.Finding_SEVERITY_ERROR
		}
		resp.Findings = append(resp.Findings, &clonedv1.Finding{Severity: severity, Check: f.Check, Message: f.Message, Remedy: f.Remedy})
	}
	resp.Took = durationpb.New(time.Since(began))
	return resp, nil
}

func (s *hostService) ListOrphans(ctx context.Context, _ *clonedv1.ListOrphansRequest) (*clonedv1.ListOrphansResponse, error) {
	orphans, err := s.plane.ListOrphans(ctx)
	if err != nil {
		return nil, err
	}
	resp := &clonedv1.ListOrphansResponse{}
	for _, o := range orphans {
		msg := &clonedv1.Orphan{Name: o.Name, Reason: o.Reason, CreateTime: optionalTime(o.Created)}
		if o.UniqueBytes >= 0 {
			msg.UniqueBytes = &o.UniqueBytes
		}
		resp.Orphans = append(resp.Orphans, msg)
	}
	return resp, nil
}

func (s *hostService) SweepOrphans(ctx context.Context, req *clonedv1.SweepOrphansRequest) (*clonedv1.SweepOrphansResponse, error) {
	swept, left, err := s.plane.SweepOrphans(ctx, req.GetNames())
	if err != nil {
		return nil, err
	}
	resp := &clonedv1.SweepOrphansResponse{Swept: swept}
	for _, l := range left {
		resp.Left = append(resp.Left, &clonedv1.OrphanLeft{Name: l.Name, Reason: l.Why})
	}
	return resp, nil
}

// backupChunk is well below what a gRPC message may hold.
const backupChunk = 1 << 20

func (s *hostService) BackupState(_ *clonedv1.BackupStateRequest, stream grpc.ServerStreamingServer[clonedv1.BackupStateResponse]) error {
	data, err := s.plane.CopyState()
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(data, backupChunk) {
		if err := stream.Send(&clonedv1.BackupStateResponse{Data: chunk}); err != nil {
			return err
		}
	}
	return nil
}

var nodeKinds = map[control.NodeKind]clonedv1.TreeNode_Kind{
	control.NodeGolden: clonedv1.TreeNode_KIND_GOLDEN, control.NodeSnapshot: clonedv1.TreeNode_KIND_SNAPSHOT, control.NodeClone: clonedv1.TreeNode_KIND_CLONE,
}

func nodeToProto(n control.Node) *clonedv1.TreeNode {
	return &clonedv1.TreeNode{
		Kind: nodeKinds[n.Kind], Id: n.ID, Parent: n.Parent, Name: n.Name, Owner: n.Owner, Message: n.Message,
		CreateTime: optionalTime(n.Created), State: stateToProto[n.State], Deleted: n.Deleted, UniqueBytes: n.UniqueBytes,
	}
}

func statusToProto(st control.Status) *clonedv1.GetStatusResponse {
	resp := &clonedv1.GetStatusResponse{
		Version: st.Version, Instance: st.Instance,
		Driver: st.Driver, DriverReason: st.DriverReason, Thin: st.Thin,
		Runtime: st.Runtime, RuntimeReason: st.RuntimeReason, Isolated: st.Isolated, Limits: st.Limits.Limits,
		PoolTotalBytes: st.Space.Total, PoolFreeBytes: st.Space.Free, PoolFloorBytes: st.FloorBytes,
		Goldens: int32(st.Goldens), Snapshots: int32(st.Snapshots), MaxClones: int32(st.MaxClones),
		PortFirst: int32(st.Ports[0]), PortLast: int32(st.Ports[1]), PortsFree: int32(st.PortsFree),
		Orphans: int32(st.Orphans), Degraded: st.Degraded, LastReconcileTime: optionalTime(st.LastReconcile),
	}
	for _, state := range cloneStates() {
		if n := st.Clones[state]; n > 0 {
			resp.Clones = append(resp.Clones, &clonedv1.StateCount{State: stateToProto[state], Count: int32(n)})
		}
	}
	return resp
}
