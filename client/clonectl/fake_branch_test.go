package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func (f *fake) SnapshotClone(_ context.Context, req *clonedv1.SnapshotCloneRequest) (*clonedv1.SnapshotCloneResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.clones[req.Name]; !ok {
		return nil, errs.New(errs.NotFound, "CLONE_NOT_FOUND", "no clone named %s", req.Name)
	}
	s := &clonedv1.Snapshot{
		Id: fmt.Sprintf("s%d", len(f.taken)+1), Golden: "shop", Clone: req.Name, Name: req.Snapshot,
		Message: req.Message, Author: req.Author, CreateTime: timestamppb.New(time.Now().Add(-time.Hour)),
	}
	f.taken = slices.Insert(f.taken, 0, s)
	return &clonedv1.SnapshotCloneResponse{Snapshot: s, Created: true}, nil
}

func (f *fake) GetLineage(_ context.Context, req *clonedv1.GetLineageRequest) (*clonedv1.GetLineageResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.clones[req.Name]; !ok {
		return nil, errs.New(errs.NotFound, "CLONE_NOT_FOUND", "no clone named %s", req.Name)
	}
	space := int64(3 << 20)
	golden := &clonedv1.Snapshot{Id: "snap1", UniqueBytes: &space, Golden: "shop", CreateTime: timestamppb.New(time.Now().Add(-24 * time.Hour))}
	return &clonedv1.GetLineageResponse{Snapshots: append(slices.Clone(f.taken), golden)}, nil
}

func (f *fake) ResetClone(_ context.Context, req *clonedv1.ResetCloneRequest) (*clonedv1.ResetCloneResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resets = append(f.resets, req)
	return &clonedv1.ResetCloneResponse{Clone: f.clones[req.Name]}, nil
}

func (f *fake) DeleteSnapshot(_ context.Context, req *clonedv1.DeleteSnapshotRequest) (*clonedv1.DeleteSnapshotResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropped = append(f.dropped, req.Id)
	return &clonedv1.DeleteSnapshotResponse{}, nil
}

func (f *fake) GetTree(context.Context, *clonedv1.GetTreeRequest) (*clonedv1.GetTreeResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &clonedv1.GetTreeResponse{Nodes: f.nodes}, nil
}

// GetChanges compares with whatever it is asked for.
func (f *fake) GetChanges(_ context.Context, req *clonedv1.GetChangesRequest) (*clonedv1.GetChangesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.clones[req.Name]
	if !ok {
		return nil, errs.New(errs.NotFound, "CLONE_NOT_FOUND", "no clone named %s", req.Name)
	}
	if f.fail != nil {
		return nil, f.fail
	}
	return &clonedv1.GetChangesResponse{Since: cmp.Or(req.Since, c.Snapshot), Relations: f.changes}, nil
}

func (f *fake) UndoClone(_ context.Context, req *clonedv1.UndoCloneRequest) (*clonedv1.UndoCloneResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.undos = append(f.undos, req)
	c, ok := f.clones[req.Name]
	if !ok {
		c = f.put(req.Name) // it was deleted
	} else {
		c.Generation = req.Generation
	}
	return &clonedv1.UndoCloneResponse{Clone: c}, nil
}

func (f *fake) ResumeClone(_ context.Context, req *clonedv1.ResumeCloneRequest) (*clonedv1.ResumeCloneResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.clones[req.Name]
	if !ok {
		return nil, errs.New(errs.NotFound, "NO_CLONE", "no clone named %s", req.Name)
	}
	f.resumes = append(f.resumes, req.Name)
	c.State = clonedv1.CloneState_CLONE_STATE_READY
	return &clonedv1.ResumeCloneResponse{Clone: c}, nil
}

// HoldClone lasts until its caller goes, as long as the clone is there.
func (f *fake) HoldClone(req *clonedv1.HoldCloneRequest, stream grpc.ServerStreamingServer[clonedv1.HoldCloneResponse]) error {
	if err := stream.Send(&clonedv1.HoldCloneResponse{}); err != nil {
		return err
	}
	f.mu.Lock()
	f.holds = append(f.holds, req.Name)
	f.mu.Unlock()
	<-stream.Context().Done()
	return stream.Context().Err()
}
