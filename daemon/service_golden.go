package daemon

import (
	"context"
	"sync"

	"google.golang.org/grpc"

	"github.com/cloned-db/cloned/daemon/control"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
	"github.com/cloned-db/cloned/state"
)

// goldenService is the API's GoldenService on the control plane.
type goldenService struct {
	clonedv1.UnimplementedGoldenServiceServer
	plane *control.Plane
}

func (s *goldenService) CreateGolden(req *clonedv1.CreateGoldenRequest, stream grpc.ServerStreamingServer[clonedv1.CreateGoldenResponse]) error {
	golden, snapshot, err := s.plane.CreateGolden(stream.Context(), control.CreateGoldenRequest{
		Name: req.GetName(), Engine: req.GetEngine(),
		Source: sourceFromProto(req.GetSource()), Options: optionsFromProto(req.GetOptions()),
	}, report(func(p *clonedv1.RefreshProgress) error {
		return stream.Send(&clonedv1.CreateGoldenResponse{Event: &clonedv1.CreateGoldenResponse_Progress{Progress: p}})
	}))
	if err != nil {
		return err
	}
	msg := goldenToProto(golden, []state.Snapshot{snapshot}, cloneCount{})
	return stream.Send(&clonedv1.CreateGoldenResponse{Event: &clonedv1.CreateGoldenResponse_Golden{Golden: msg}})
}

func (s *goldenService) RefreshGolden(req *clonedv1.RefreshGoldenRequest, stream grpc.ServerStreamingServer[clonedv1.RefreshGoldenResponse]) error {
	snapshot, err := s.plane.RefreshGolden(stream.Context(), req.GetName(), report(func(p *clonedv1.RefreshProgress) error {
		return stream.Send(&clonedv1.RefreshGoldenResponse{Event: &clonedv1.RefreshGoldenResponse_Progress{Progress: p}})
	}))
	if err != nil {
		return err
	}
	msg := snapshotToProto(snapshot, cloneCount{})
	return stream.Send(&clonedv1.RefreshGoldenResponse{Event: &clonedv1.RefreshGoldenResponse_Snapshot{Snapshot: msg}})
}

// report makes of send, which only one may call at a time, a progress function.
// After send has failed it says nothing more: the stream's context has ended
// then, and with it the operation.
func report(send func(*clonedv1.RefreshProgress) error) func(control.Progress) {
	var mu sync.Mutex
	var failed error
	return func(p control.Progress) {
		mu.Lock()
		defer mu.Unlock()
		if failed == nil && p.Snapshot == nil { // with a snapshot it is the end, which the answer tells
			failed = send(progressToProto(p))
		}
	}
}

func (s *goldenService) GetGolden(ctx context.Context, req *clonedv1.GetGoldenRequest) (*clonedv1.GetGoldenResponse, error) {
	golden, snapshots, err := s.plane.GetGolden(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	count, err := countClones(ctx, s.plane)
	if err != nil {
		return nil, err
	}
	return &clonedv1.GetGoldenResponse{
		Golden: goldenToProto(golden, snapshots, count), Snapshots: snapshotsToProto(snapshots, count),
	}, nil
}

func (s *goldenService) ListGoldens(ctx context.Context, _ *clonedv1.ListGoldensRequest) (*clonedv1.ListGoldensResponse, error) {
	count, err := countClones(ctx, s.plane)
	if err != nil {
		return nil, err
	}
	resp := &clonedv1.ListGoldensResponse{}
	for _, golden := range s.plane.ListGoldens(ctx) {
		snapshots, err := s.plane.ListSnapshots(ctx, golden.Name)
		if err != nil {
			return nil, err
		}
		resp.Goldens = append(resp.Goldens, goldenToProto(golden, snapshots, count))
	}
	return resp, nil
}

func (s *goldenService) DeleteGolden(ctx context.Context, req *clonedv1.DeleteGoldenRequest) (*clonedv1.DeleteGoldenResponse, error) {
	return &clonedv1.DeleteGoldenResponse{}, s.plane.DeleteGolden(ctx, req.GetName())
}

func (s *goldenService) ListSnapshots(ctx context.Context, req *clonedv1.ListSnapshotsRequest) (*clonedv1.ListSnapshotsResponse, error) {
	snapshots, err := s.plane.ListSnapshots(ctx, req.GetGolden())
	if err != nil {
		return nil, err
	}
	count, err := countClones(ctx, s.plane)
	if err != nil {
		return nil, err
	}
	return &clonedv1.ListSnapshotsResponse{Snapshots: snapshotsToProto(snapshots, count)}, nil
}

func (s *goldenService) DeleteSnapshot(ctx context.Context, req *clonedv1.DeleteSnapshotRequest) (*clonedv1.DeleteSnapshotResponse, error) {
	return &clonedv1.DeleteSnapshotResponse{}, s.plane.DeleteSnapshot(ctx, req.GetId())
}
