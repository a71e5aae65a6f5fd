package daemon

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/database"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
	"github.com/cloned-db/cloned/state"
)

func sourceFromProto(src *clonedv1.Source) state.GoldenSource {
	switch kind := src.GetKind().(type) {
	case *clonedv1.Source_Directory:
		return state.GoldenSource{Kind: string(database.SourceDirectory), Directory: kind.Directory.GetPath()}
	case *clonedv1.Source_BaseBackup:
		return state.GoldenSource{Kind: string(database.SourceBaseBackup),
			ConnInfo: kind.BaseBackup.GetConninfo(), PasswordFile: kind.BaseBackup.GetPasswordFile()}
	case *clonedv1.Source_InPlace:
		return state.GoldenSource{Kind: string(database.SourceInPlace),
			Dataset: kind.InPlace.GetDataset(), DataDir: kind.InPlace.GetDataDir()}
	case *clonedv1.Source_Clone:
		return state.GoldenSource{Kind: string(database.SourceClone),
			Clone: kind.Clone.GetName(), Snapshot: kind.Clone.GetSnapshot()}
	}
	return state.GoldenSource{} // which the control plane refuses
}

func sourceToProto(src state.GoldenSource) *clonedv1.Source {
	switch database.SourceKind(src.Kind) {
	case database.SourceDirectory:
		return &clonedv1.Source{Kind: &clonedv1.Source_Directory{
			Directory: &clonedv1.DirectorySource{Path: src.Directory}}}
	case database.SourceBaseBackup:
		return &clonedv1.Source{Kind: &clonedv1.Source_BaseBackup{
			BaseBackup: &clonedv1.BaseBackupSource{Conninfo: src.ConnInfo, PasswordFile: src.PasswordFile}}}
	case database.SourceInPlace:
		return &clonedv1.Source{Kind: &clonedv1.Source_InPlace{
			InPlace: &clonedv1.InPlaceSource{Dataset: src.Dataset, DataDir: src.DataDir}}}
	case database.SourceClone:
		return &clonedv1.Source{Kind: &clonedv1.Source_Clone{
			Clone: &clonedv1.CloneSource{Name: src.Clone, Snapshot: src.Snapshot}}}
	}
	return nil
}

func optionsFromProto(o *clonedv1.GoldenOptions) state.GoldenOptions {
	return state.GoldenOptions{
		Image: o.GetImage(), Database: o.GetDatabase(), Settings: o.GetSettings(),
		Durable: o.GetDurable(), Vacuum: o.GetVacuum(),
		MemoryBytes: o.GetMemoryBytes(), CPUs: o.GetCpus(), PIDs: o.GetPids(), ShmBytes: o.GetShmBytes(),
	}
}

func optionsToProto(o state.GoldenOptions) *clonedv1.GoldenOptions {
	return &clonedv1.GoldenOptions{
		Image: o.Image, Database: o.Database, Settings: o.Settings,
		Durable: o.Durable, Vacuum: o.Vacuum,
		MemoryBytes: o.MemoryBytes, Cpus: o.CPUs, Pids: o.PIDs, ShmBytes: o.ShmBytes,
	}
}

// goldenToProto describes a golden; its snapshots are newest first.
func goldenToProto(g state.Golden, snapshots []state.Snapshot, count cloneCount) *clonedv1.Golden {
	msg := &clonedv1.Golden{
		Name: g.Name, Engine: g.Engine, Source: sourceToProto(g.Source), Options: optionsToProto(g.Options),
		CreateTime: timestamppb.New(g.Created), SnapshotCount: int32(len(snapshots)), CloneCount: count.golden[g.Name],
	}
	if len(snapshots) > 0 {
		msg.NewestSnapshot = snapshotToProto(snapshots[0], count)
	}
	return msg
}

func snapshotsToProto(snapshots []state.Snapshot, count cloneCount) []*clonedv1.Snapshot {
	list := make([]*clonedv1.Snapshot, 0, len(snapshots))
	for _, s := range snapshots {
		list = append(list, snapshotToProto(s, count))
	}
	return list
}

func snapshotToProto(s state.Snapshot, count cloneCount) *clonedv1.Snapshot {
	return &clonedv1.Snapshot{
		Id: s.ID, Golden: s.Golden, CreateTime: timestamppb.New(s.Created), Major: int32(s.Major),
		Image: s.Image, Database: s.Database, Databases: s.Databases, SizeBytes: s.SizeBytes,
		Defused: s.Defused, Warnings: s.Warnings, CloneCount: count.snapshot[s.ID],
		Name: s.Name, Message: s.Message, Author: s.Author,
	}
}

func progressToProto(p control.Progress) *clonedv1.RefreshProgress {
	return &clonedv1.RefreshProgress{Phase: p.Phase, Message: p.Message, DoneBytes: p.Done, TotalBytes: p.Total}
}

// cloneCount is how many clones that the caller sees descend from each golden and
// snapshot.
type cloneCount struct{ golden, snapshot map[string]int32 }

func countClones(ctx context.Context, plane *control.Plane) (cloneCount, error) {
	clones, _, err := plane.ListClones(ctx, control.CloneFilter{}, 0, "")
	count := cloneCount{golden: map[string]int32{}, snapshot: map[string]int32{}}
	for _, c := range clones {
		count.golden[c.Golden]++
		count.snapshot[c.Snapshot]++
	}
	return count, err
}
