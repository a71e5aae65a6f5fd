package daemon

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
	"github.com/cloned-db/cloned/state"
)

// defaultPage is the page size of a list whose request names none.
const defaultPage = 100

// cloneService is the API's CloneService on the control plane.
type cloneService struct {
	clonedv1.UnimplementedCloneServiceServer
	plane *control.Plane
	log   *slog.Logger
}

func (s *cloneService) plain(ctx context.Context, c state.Clone) *clonedv1.Clone {
	if s.plane.IsHeld(c.ID) {
		c.Expires = time.Time{}
	}
	return cloneToProto(c, s.plane.Endpoint(ctx, c))
}

func (s *cloneService) full(ctx context.Context, c state.Clone) *clonedv1.Clone {
	return withCredentials(s.plain(ctx, c), c, s.plane.Endpoint(ctx, c))
}

func (s *cloneService) CreateClone(ctx context.Context, req *clonedv1.CreateCloneRequest) (*clonedv1.CreateCloneResponse, error) {
	c, created, err := s.plane.CreateClone(ctx, control.CreateRequest{
		Name: req.GetName(), Golden: req.GetGolden(), From: req.GetFrom(), Snapshot: req.GetSnapshot(),
		Branch: req.GetBranch(), Owner: req.GetOwner(), Labels: req.GetLabels(),
		TTL: req.GetTtl().AsDuration(), Protect: req.GetProtect(), Port: int(req.GetPort()), Held: req.GetHeld(), Queue: req.GetWait().AsDuration(), Wait: !req.GetNoWait(),
		CountStatements: req.GetCountStatements(),
	})
	if err != nil {
		return nil, err
	}
	return &clonedv1.CreateCloneResponse{Clone: s.full(ctx, c), Created: created}, nil
}

func (s *cloneService) GetClone(ctx context.Context, req *clonedv1.GetCloneRequest) (*clonedv1.GetCloneResponse, error) {
	c, err := s.plane.GetClone(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	msg := s.full(ctx, c)
	usage, err := s.plane.Usage(ctx, c.Name)
	if err != nil {
		// As while its volume is being made: no reason to know nothing of the clone.
		s.log.DebugContext(ctx, "usage is unknown", "clone", c.Name, "error", err)
		return &clonedv1.GetCloneResponse{Clone: msg}, nil
	}
	msg.Usage = usageToProto(usage)
	return &clonedv1.GetCloneResponse{Clone: msg}, nil
}

func (s *cloneService) ListClones(ctx context.Context, req *clonedv1.ListClonesRequest) (*clonedv1.ListClonesResponse, error) {
	if req.GetFilter().GetState() == clonedv1.CloneState_CLONE_STATE_DELETING {
		resp := &clonedv1.ListClonesResponse{}
		for _, c := range s.plane.DeletedClones(ctx, filterFromProto(req.GetFilter())) {
			resp.Clones = append(resp.Clones, s.plain(ctx, c))
		}
		return resp, nil
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = defaultPage
	}
	clones, next, err := s.plane.ListClones(ctx, filterFromProto(req.GetFilter()), size, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &clonedv1.ListClonesResponse{NextPageToken: next}
	for _, c := range clones {
		resp.Clones = append(resp.Clones, s.plain(ctx, c))
	}
	return resp, nil
}

func (s *cloneService) UpdateClone(ctx context.Context, req *clonedv1.UpdateCloneRequest) (*clonedv1.UpdateCloneResponse, error) {
	update := control.CloneUpdate{SetLabels: req.GetSetLabels(), RemoveLabels: req.GetRemoveLabels(), Revision: req.GetRevision()}
	for _, path := range req.GetUpdateMask().GetPaths() {
		switch path {
		case "ttl":
			ttl := time.Duration(0) // unset: for ever
			if req.GetTtl() != nil {
				ttl = req.GetTtl().AsDuration()
			}
			update.TTL = &ttl
		case "protect":
			protect := req.GetProtect()
			update.Protect = &protect
		default:
			return nil, errs.Fieldf("update_mask", "%q can't be updated: only ttl and protect can", path)
		}
	}
	if req.GetTtl() != nil && !slices.Contains(req.GetUpdateMask().GetPaths(), "ttl") {
		return nil, errs.Fieldf("update_mask", "ttl is set and not in the mask")
	}
	c, err := s.plane.UpdateClone(ctx, req.GetName(), update)
	if err != nil {
		return nil, err
	}
	return &clonedv1.UpdateCloneResponse{Clone: s.plain(ctx, c)}, nil
}

func (s *cloneService) ResetClone(ctx context.Context, req *clonedv1.ResetCloneRequest) (*clonedv1.ResetCloneResponse, error) {
	c, err := s.plane.ResetClone(ctx, control.ResetRequest{
		Name: req.GetName(), Newest: req.GetNewest(), Snapshot: req.GetSnapshot(), Clone: req.GetClone(),
		Now: req.GetNow(), Wait: !req.GetNoWait(),
	})
	if err != nil {
		return nil, err
	}
	return &clonedv1.ResetCloneResponse{Clone: s.full(ctx, c)}, nil
}

func (s *cloneService) GetChanges(ctx context.Context, req *clonedv1.GetChangesRequest) (*clonedv1.GetChangesResponse, error) {
	since, relations, err := s.plane.Changes(ctx, req.GetName(), req.GetSince())
	if err != nil {
		return nil, err
	}
	resp := &clonedv1.GetChangesResponse{Since: since}
	for _, r := range relations {
		resp.Relations = append(resp.Relations, &clonedv1.RelationChange{
			Database: r.Database, Name: r.Name, Kind: r.Kind,
			WrittenBytes: r.Bytes, SizeBytes: r.Size, Created: r.Created, Removed: r.Removed,
		})
	}
	return resp, nil
}

func (s *cloneService) UndoClone(ctx context.Context, req *clonedv1.UndoCloneRequest) (*clonedv1.UndoCloneResponse, error) {
	c, err := s.plane.UndoClone(ctx, req.GetName(), req.GetGeneration())
	if err != nil {
		return nil, err
	}
	return &clonedv1.UndoCloneResponse{Clone: s.full(ctx, c)}, nil
}

func (s *cloneService) HoldClone(req *clonedv1.HoldCloneRequest, stream grpc.ServerStreamingServer[clonedv1.HoldCloneResponse]) error {
	ctx := stream.Context()
	err := s.plane.HoldClone(ctx, req.GetName(), func() error { return stream.Send(&clonedv1.HoldCloneResponse{}) })
	if cause := context.Cause(ctx); err == nil && !isContext(cause) { // it was not the holder who ended it
		return cause
	}
	return err
}

func (s *cloneService) SnapshotClone(ctx context.Context, req *clonedv1.SnapshotCloneRequest) (*clonedv1.SnapshotCloneResponse, error) {
	taken, created, err := s.plane.SnapshotClone(ctx, control.SnapshotRequest{
		Clone: req.GetName(), Name: req.GetSnapshot(), Message: req.GetMessage(), Author: req.GetAuthor(),
	})
	if err != nil {
		return nil, err
	}
	msg := snapshotToProto(taken, cloneCount{})
	msg.Clone = req.GetName()
	return &clonedv1.SnapshotCloneResponse{Snapshot: msg, Created: created}, nil
}

func (s *cloneService) GetLineage(ctx context.Context, req *clonedv1.GetLineageRequest) (*clonedv1.GetLineageResponse, error) {
	snapshots, err := s.plane.Lineage(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	count, err := countClones(ctx, s.plane)
	if err != nil {
		return nil, err
	}
	resp := &clonedv1.GetLineageResponse{}
	for _, snapshot := range snapshots {
		msg := snapshotToProto(snapshot, count)
		msg.Clone = s.plane.CloneName(ctx, snapshot.Clone)
		if req.GetUsage() {
			if usage, err := s.plane.SnapshotUsage(ctx, snapshot.ID); err == nil { // else it is just being removed
				msg.UniqueBytes = &usage.Unique
			}
		}
		resp.Snapshots = append(resp.Snapshots, msg)
	}
	return resp, nil
}

func (s *cloneService) SuspendClone(ctx context.Context, req *clonedv1.SuspendCloneRequest) (*clonedv1.SuspendCloneResponse, error) {
	c, err := s.plane.SuspendClone(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	return &clonedv1.SuspendCloneResponse{Clone: s.plain(ctx, c)}, nil
}

func (s *cloneService) ResumeClone(ctx context.Context, req *clonedv1.ResumeCloneRequest) (*clonedv1.ResumeCloneResponse, error) {
	c, err := s.plane.ResumeClone(ctx, req.GetName(), req.GetNewPort())
	if err != nil {
		return nil, err
	}
	return &clonedv1.ResumeCloneResponse{Clone: s.full(ctx, c)}, nil
}

func (s *cloneService) DeleteClone(ctx context.Context, req *clonedv1.DeleteCloneRequest) (*clonedv1.DeleteCloneResponse, error) {
	return &clonedv1.DeleteCloneResponse{}, s.plane.DeleteClone(ctx, control.DeleteRequest{Name: req.GetName(), Now: req.GetNow(), Wait: !req.GetNoWait()})
}

func (s *cloneService) DeleteClones(ctx context.Context, req *clonedv1.DeleteClonesRequest) (*clonedv1.DeleteClonesResponse, error) {
	deleted, skipped, err := s.plane.DeleteClones(ctx, filterFromProto(req.GetFilter()), req.GetNow())
	if err != nil {
		return nil, err
	}
	return &clonedv1.DeleteClonesResponse{Deleted: deleted, Protected: skipped}, nil
}

func (s *cloneService) WatchClones(req *clonedv1.WatchClonesRequest, stream grpc.ServerStreamingServer[clonedv1.WatchClonesResponse]) error {
	ctx := stream.Context()
	events, reason, err := s.plane.Watch(ctx, req.GetAfterRevision(), filterFromProto(req.GetFilter()))
	if err != nil {
		return err
	}
	for event := range events {
		kind := clonedv1.EventType_EVENT_TYPE_PUT
		if event.Type == control.EventDelete {
			kind = clonedv1.EventType_EVENT_TYPE_DELETE
		}
		msg := &clonedv1.WatchClonesResponse{Revision: event.Revision, Type: kind, Clone: s.plain(ctx, event.Clone)}
		if err := stream.Send(msg); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return reason()
}

func (s *cloneService) GetCloneLogs(req *clonedv1.GetCloneLogsRequest, stream grpc.ServerStreamingServer[clonedv1.GetCloneLogsResponse]) error {
	tail := int(req.GetTail())
	if tail == 0 {
		tail = -1 // all
	}
	return s.plane.Logs(stream.Context(), req.GetName(), tail, req.GetFollow(), logWriter{stream})
}

// logChunk keeps messages far below gRPC's usual limit of 4 MiB.
const logChunk = 64 << 10

// logWriter sends what is written to it.
type logWriter struct {
	stream grpc.ServerStreamingServer[clonedv1.GetCloneLogsResponse]
}

func (w logWriter) Write(data []byte) (n int, err error) {
	for chunk := range slices.Chunk(data, logChunk) {
		if err := w.stream.Send(&clonedv1.GetCloneLogsResponse{Data: chunk}); err != nil {
			return n, err
		}
		n += len(chunk)
	}
	return n, nil
}
